"""What a step of unlearning minimises: one short function an objective, behind one registry.

To add one: write its loss over ``ObjectiveInputs``, and register it in ``declared`` with its settings' defaults and
its source, done. Every loss is a mean over target tokens (or examples) of the *whole* step, so micro-batches and
workers add up to the same gradient; only ``compat`` reduces as another project does.

The registry loads no PyTorch; ``compute`` and ``ObjectiveInputs`` do, when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trainables.objectives import declared  # the objectives register themselves
from trainables.objectives.registry import (
    COMPATS,
    OBJECTIVES,
    OPTIONS,
    SETTING_MEANINGS,
    Objective,
    check_objective,
    register,
)

if TYPE_CHECKING:
    from trainables.objectives.computing import compute
    from trainables.objectives.inputs import ObjectiveInputs

__all__ = [
    "COMPATS",
    "OBJECTIVES",
    "OPTIONS",
    "SETTING_MEANINGS",
    "Objective",
    "ObjectiveInputs",
    "check_objective",
    "compute",
    "declared",
    "register",
]

_COMPUTING = {"compute": "computing", "ObjectiveInputs": "inputs"}


def __getattr__(name: str) -> Any:
    if name in _COMPUTING:
        return getattr(import_module(f"trainables.objectives.{_COMPUTING[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
