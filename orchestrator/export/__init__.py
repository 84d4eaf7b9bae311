"""An evaluated step as a Hugging Face folder, measured once more, with its model card."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
