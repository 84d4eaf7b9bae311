"""One evaluated step of a trial: finding it by name or as the best within bounds."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
