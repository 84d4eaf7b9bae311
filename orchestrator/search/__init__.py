"""What runs next: studies, samplers, budget, and their replay from the ledger. Nothing here knows of Ray."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
