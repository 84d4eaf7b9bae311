"""What an evaluation measures: likelihood, exposure, generation. The only room that shifts and masks tokens."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
