from .status import status_text, sweep_status
from .tracking import Tracking, open_trackers

__all__ = ["Tracking", "open_trackers", "status_text", "sweep_status"]
