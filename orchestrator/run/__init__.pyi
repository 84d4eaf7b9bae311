from .doctor import examine
from .failures import failures_described
from .options import RunOptions
from .runner import run_sweep

__all__ = ["RunOptions", "examine", "failures_described", "run_sweep"]
