"""What trials start from: data, base and reference models, the workload, and whether they go together."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
