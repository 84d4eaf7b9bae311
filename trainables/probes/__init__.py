"""What is tried on one unlearned model after the fact: a registry of probes, and their records. Stub."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
