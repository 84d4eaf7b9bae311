"""Running or resuming a sweep, by an executor, and looking whether it could run."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
