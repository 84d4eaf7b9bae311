"""What trials start from: data, base and reference models, the workload, and whether they fit together.

Training loops and encodings live in ``trainables.preparation``; here is what a sweep makes of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
