"""What is tried on an unlearned model after the fact, to see whether what it forgot comes back: one function a probe.

To add one: declare its settings in ``settings``, write a function that yields a ``Finding`` for each measurement, and
give it an entry in ``registry`` with its source; or call ``register``. Which points are probed, and where records go,
is not decided here. Registry and settings load no PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
