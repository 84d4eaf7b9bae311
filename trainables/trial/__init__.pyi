from .ascent import DivergedError
from .engine import Engine
from .memory import PeakMemory, measure_peak
from .reports import EVALUATION, FAILURE, OUTCOME, RUNG, STORAGE_ERROR, WARNING, is_last
from .sinks import TrialSink
from .stopping import stays_ended
from .trial_run import TrialRun
from .worker import TrialWorker
from .workload import Workload

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
    "stays_ended",
]
