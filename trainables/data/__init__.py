"""Examples and where they come from: corpora, sources, canaries, and their allocation to sets."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
