from .doctor import examine
from .failures import failures_described
from .options import ExecutorName, RunOptions
from .runner import run_sweep

__all__ = ["ExecutorName", "RunOptions", "examine", "failures_described", "run_sweep"]
