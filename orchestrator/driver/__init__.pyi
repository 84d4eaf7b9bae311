from .fenced_storage import FencedStorage
from .interrupt import Interrupt, catch_signals, clear_of
from .leases import Lease, is_stopping, lease, require_lease, require_undriven
from .records import Driver, Watch, current_driver, driven_s, is_driven, request_stop

__all__ = [
    "Driver",
    "FencedStorage",
    "Interrupt",
    "Lease",
    "Watch",
    "catch_signals",
    "clear_of",
    "current_driver",
    "driven_s",
    "is_driven",
    "is_stopping",
    "lease",
    "request_stop",
    "require_lease",
    "require_undriven",
]
