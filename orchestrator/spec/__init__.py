"""What a sweep is: from YAML to a validated spec, its checks, and the differences between two specs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
