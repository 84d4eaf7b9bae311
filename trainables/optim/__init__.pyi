from . import curvature
from .optimizers import OPTIMIZERS, OptimizerEntry, build_optimizer, check_optimizer
from .schedules import SCHEDULES, learning_rate_at

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "OptimizerEntry",
    "build_optimizer",
    "check_optimizer",
    "curvature",
    "learning_rate_at",
]
