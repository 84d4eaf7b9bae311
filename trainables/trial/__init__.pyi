from .ascent import DivergedError
from .engine import Engine, TrialRun, Workload
from .memory import PeakMemory, measure_peak
from .reports import EVALUATION, FAILURE, OUTCOME, RUNG, STORAGE_ERROR, WARNING, is_last, next_report
from .sinks import TrialSink
from .stopping import stays_ended
from .worker import TrialWorker

__all__ = [
    "EVALUATION",
    "FAILURE",
    "OUTCOME",
    "RUNG",
    "STORAGE_ERROR",
    "WARNING",
    "DivergedError",
    "Engine",
    "PeakMemory",
    "TrialRun",
    "TrialSink",
    "TrialWorker",
    "Workload",
    "is_last",
    "measure_peak",
    "next_report",
    "stays_ended",
]
