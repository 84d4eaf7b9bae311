"""Examples and where they come from: corpus, sources, canaries, and their allocation to sets. No tokens, no models."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
