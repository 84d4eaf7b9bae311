from .status import described, sweep_status
from .tracking import Tracking, open_trackers

__all__ = ["Tracking", "described", "open_trackers", "sweep_status"]
