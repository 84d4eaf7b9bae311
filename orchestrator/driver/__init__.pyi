from .fencing import FencedStorage, LeaseLostError, is_stopping, require_lease
from .interrupt import Interrupt, catch_signals, clear_of
from .leases import Lease, lease, require_undriven
from .records import Driver, current_driver, driven_s, is_driven
from .watching import Watch, request_stop

__all__ = [
    "Driver",
    "FencedStorage",
    "Interrupt",
    "Lease",
    "LeaseLostError",
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
