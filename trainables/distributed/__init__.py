"""The group of workers that runs one trial or trains one model, and how the model is distributed over them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
