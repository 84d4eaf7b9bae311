"""The paper's findings, decided on a user's own sweeps: estimands, effects by replicate, intervals, verdicts.

Nothing is drawn or printed here. Points and prices of single settings are of ``frontier``; here every number is a mean
over all settings that were run, so nothing is chosen on the data that it is shown on.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
