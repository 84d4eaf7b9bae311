"""One evaluated step of a trial: finding it by name or by bounds, and rebuilding its model.

Choosing among the points of a frontier lives in ``frontier``, writing a model to a folder in ``export``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
