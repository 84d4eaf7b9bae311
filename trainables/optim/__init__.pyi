from . import curvature
from .optimizers import OPTIMIZERS, OptimizerEntry, build_optimizer, check_optimizer
from .schedules import SCHEDULES, Horizon, learning_rate_at

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Horizon",
    "OptimizerEntry",
    "build_optimizer",
    "check_optimizer",
    "curvature",
    "learning_rate_at",
]
