"""One trial: the ascent loop, its batches, its evaluations, its end, and where its rows go. Ray is not known here."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
