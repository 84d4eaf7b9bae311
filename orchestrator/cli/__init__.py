"""The commands of ``unlearn-sweep``: their options, tables and progress. What they do lives in the other rooms."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
