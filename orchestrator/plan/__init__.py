"""What a sweep will cost, before it runs: trials, steps, and estimates of time. Nothing is trained here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
