"""Pareto sets, crossings, intervals, and what they say in words and rows. Draws nothing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
