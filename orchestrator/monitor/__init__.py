"""How far sweeps have come: their status, and trackers that follow them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
