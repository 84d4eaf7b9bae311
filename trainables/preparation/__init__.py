"""Training of base and reference models, what they know before unlearning, and checks of what they are trained on."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
