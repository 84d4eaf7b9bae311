"""Trying something on chosen points of a sweep after the fact: which points, on which models, and what is left to do.

The probes themselves live in ``trainables.probes``; what they find is read from the ledger, by whoever shows it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
