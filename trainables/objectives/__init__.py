"""What a step of unlearning minimises: one short function an objective, behind one registry.

To add one: write its loss over ``ObjectiveInputs``, register it with its settings' defaults and its source, done. Every
loss is a mean over target tokens (or examples) of the *whole* step, so micro-batches and workers add up to the same
gradient; only ``compat`` reduces as another project does.
"""

from trainables.objectives import ascents, distilled, preferences, reweighted  # they register themselves
from trainables.objectives.computing import compute
from trainables.objectives.inputs import ObjectiveInputs
from trainables.objectives.registry import COMPATS, OBJECTIVES, OPTIONS, Objective, check_objective, register

__all__ = [
    "COMPATS",
    "OBJECTIVES",
    "OPTIONS",
    "Objective",
    "ObjectiveInputs",
    "ascents",
    "check_objective",
    "compute",
    "distilled",
    "preferences",
    "register",
    "reweighted",
]
