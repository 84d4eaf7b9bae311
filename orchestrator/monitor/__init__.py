"""Watching a sweep from its ledger: status, and trackers. The trials themselves do not know of it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
