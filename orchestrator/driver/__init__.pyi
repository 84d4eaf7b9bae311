from .fencing import FencedStorage, is_stopping
from .interrupt import Interrupt, catch_signals, clear_of
from .leases import Lease, lease, require_undriven
from .records import Driver, current_driver, driven_s, is_driven
from .watching import Watch, request_stop

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
    "require_undriven",
]
