"""The Ray Tune trainables, narrow and wide. The only room that imports Ray."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
