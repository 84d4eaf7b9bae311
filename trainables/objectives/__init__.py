"""What a step of unlearning minimises: one short function an objective, behind one registry.

To add one: write its loss over ``ObjectiveInputs``, declare its settings in ``settings``, and give it an entry in
``registry`` with its source. Every loss is a mean over target tokens (or examples) of the *whole* step, so that
micro-batches and workers add up to the same gradient; only ``compat`` reduces as another project does.

The registry loads no PyTorch; ``compute`` and ``ObjectiveInputs`` do, when they are first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
