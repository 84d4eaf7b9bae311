from .choice import Choice
from .probing import ProbeSummary, probe_sweep, probes_of

__all__ = ["Choice", "ProbeSummary", "probe_sweep", "probes_of"]
