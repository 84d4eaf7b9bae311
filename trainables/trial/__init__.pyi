from .ascent import DivergedError
from .engine import Engine, TrialRun, Workload
from .memory import PeakMemory, measure_peak
from .sinks import Rank, TrialSink
from .stopping import stays_ended

__all__ = [
    "DivergedError",
    "Engine",
    "PeakMemory",
    "Rank",
    "TrialRun",
    "TrialSink",
    "Workload",
    "measure_peak",
    "stays_ended",
]
