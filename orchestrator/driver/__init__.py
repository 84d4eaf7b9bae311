"""Who drives a sweep: the lease, fencing, and the signals that end a run. Knows nothing of trials."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
