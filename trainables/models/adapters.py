"""Low-rank adapters beside frozen weights, without importing PEFT where there are none.

What needs PEFT is in ``peft_adapters``.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from trainables.deferred import Deferred

_FILE = "adapter_config.json"

add_adapters: Callable[..., Any] = Deferred("trainables.models.peft_adapters", "add_adapters")
"""See ``peft_adapters.add_adapters``."""
temporary_adapters: Callable[..., AbstractContextManager[Any]] = Deferred(
    "trainables.models.peft_adapters", "temporary_adapters"
)
"""See ``peft_adapters.temporary_adapters``."""
load: Callable[[Any, Path], Any] = Deferred("trainables.models.peft_adapters", "load")
"""See ``peft_adapters.load``."""
_merged: Callable[[Any], Any] = Deferred("trainables.models.peft_adapters", "merged")


def has_adapters(model: Any) -> bool:
    """Return whether a model has adapters. If so, only these are trained."""
    peft = sys.modules.get("peft")  # a model of PEFT cannot exist where PEFT was not imported
    return peft is not None and isinstance(model, peft.PeftModel)


def is_of_adapters(name: str) -> bool:
    """Return whether a module or parameter of this name belongs to adapters, and not to the model beside them."""
    return "lora_" in name


def merged(model: Any) -> Any:
    """Return a model with its adapters merged into its weights; models without adapters are returned as they are."""
    return _merged(model) if has_adapters(model) else model


def save(model: Any, folder: Path) -> None:
    """Write the adapters of a model to a folder, without the model."""
    model.save_pretrained(folder, save_embedding_layers=False)  # by default PEFT asks the hub whether to


def are_in(folder: Path) -> bool:
    """Return whether a folder holds adapters, not a complete model."""
    return (folder / _FILE).exists()
