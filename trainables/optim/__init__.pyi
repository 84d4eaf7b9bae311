from . import curvature
from .optimizers import OPTIMIZERS, SCHEDULES, Horizon, build_optimizer, check_optimizer, learning_rate_at

__all__ = ["OPTIMIZERS", "SCHEDULES", "Horizon", "build_optimizer", "check_optimizer", "curvature", "learning_rate_at"]
