from .probe import Finding, Probe, ProbedModel, ProbeRecord
from .registry import PROBES, check_probe, register, run_probe

__all__ = [
    "PROBES",
    "Finding",
    "Probe",
    "ProbeRecord",
    "ProbedModel",
    "check_probe",
    "register",
    "run_probe",
]
