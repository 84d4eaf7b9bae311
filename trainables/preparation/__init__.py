"""Training of base and reference models, what they know, and what can be wrong with the data they share."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
