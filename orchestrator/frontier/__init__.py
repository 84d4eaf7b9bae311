"""Pareto frontiers of a sweep: what performance each level of unlearning costs, with intervals, in words and rows.

Nothing is drawn here. ``summary`` puts frontiers into words, ``comparison`` compares forget sets at equal settings.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
