from .choice import Choice
from .probing import ProbeSummary, probe_sweep

__all__ = ["Choice", "ProbeSummary", "probe_sweep"]
