"""Folders and object stores: each file is published whole, requests are retried. Knows nothing of sweeps."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
