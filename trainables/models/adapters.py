"""Low-rank adapters beside frozen weights, through PEFT, which is imported where there are adapters.

What PEFT does is in ``peft_adapters``.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainables.deferred import Deferred

_FILE = "adapter_config.json"

add_adapters: Callable[..., Any] = Deferred("trainables.models.peft_adapters", "add_adapters")
"""See ``peft_adapters.add_adapters``."""
load: Callable[[Any, Path], Any] = Deferred("trainables.models.peft_adapters", "load")
"""See ``peft_adapters.load``."""
_merged: Callable[[Any], Any] = Deferred("trainables.models.peft_adapters", "merged")


def has_adapters(model: Any) -> bool:
    """Return whether a model has adapters, which alone are trained."""
    peft = sys.modules.get("peft")  # where it was not imported, nothing can be one of its models
    return peft is not None and isinstance(model, peft.PeftModel)


def merged(model: Any) -> Any:
    """Add what the adapters have learned to the weights, and take the adapters away; other models stay as they are."""
    return _merged(model) if has_adapters(model) else model


def save(model: Any, folder: Path) -> None:
    """Write the adapters alone."""
    model.save_pretrained(folder, save_embedding_layers=False)  # whether to would be asked of the hub


def are_in(folder: Path) -> bool:
    """Tell whether a folder holds adapters, and not a whole model."""
    return (folder / _FILE).exists()
