from .probe import Probe, ProbedModel, ProbeRecord
from .registry import PROBES, check_probe, run_probe

__all__ = ["PROBES", "Probe", "ProbeRecord", "ProbedModel", "check_probe", "run_probe"]
