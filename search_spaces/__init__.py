"""What may vary in a sweep: typed dimensions, spaces in YAML, their Optuna distributions, the shipped sweep specs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
