"""The report of a sweep: one HTML page and its figures. What they say is worked out in ``frontier``."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
