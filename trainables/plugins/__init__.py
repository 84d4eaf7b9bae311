"""Registries that others can add to: by entry points of installed packages, or by files named on the command line.

What is registered lives with what uses it (``objectives``). No spec and no sweep can name code: a spec names an
entry, and who runs the command says where else entries come from. Nothing here loads PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
