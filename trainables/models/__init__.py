"""Models: finding, loading, building, saving, adapting, restoring and comparing them. No data, no losses."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
