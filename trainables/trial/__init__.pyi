from .ascent import DivergedError
from .engine import Engine
from .memory import PeakMemory, measure_peak
from .sinks import Rank, TrialSink
from .stopping import stays_ended
from .trial_run import TrialRun
from .workload import Workload

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
