"""Low-rank adapters beside frozen weights, through PEFT."""

from pathlib import Path
from typing import Any

import peft
from peft import PeftModel

from trainables.config import LoraConfig
from trainables.errors import UnlearningError
from trainables.seeding import torch_stream

_FILE = "adapter_config.json"


def has_adapters(model: Any) -> bool:
    """Tell whether a model has adapters, which alone are trained."""
    return isinstance(model, PeftModel)


def add_adapters(model: Any, lora: LoraConfig, *, seed: int) -> Any:
    """Freeze a model and put adapters beside its weights that change nothing yet: A random of ``seed``, B zero.

    Raises:
        UnlearningError: the model has none of the modules named.
    """
    modules = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    config = peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=modules)
    try:
        with torch_stream(seed, "adapters"):
            return peft.get_peft_model(model, config)
    except ValueError as error:
        raise UnlearningError(
            f"model.lora: {error}; target_modules are names of linear layers, or all-linear"
        ) from error


def merged(model: Any) -> Any:
    """Add what the adapters have learned to the weights, and take the adapters away; other models stay as they are."""
    return model.merge_and_unload() if has_adapters(model) else model


def save(model: Any, folder: Path) -> None:
    """Write the adapters alone."""
    model.save_pretrained(folder, save_embedding_layers=False)  # whether to would be asked of the hub


def are_in(folder: Path) -> bool:
    """Tell whether a folder holds adapters, and not a whole model."""
    return (folder / _FILE).exists()


def load(model: Any, folder: Path) -> Any:
    """Merge the adapters of a folder into the model that they were trained beside."""
    return merged(PeftModel.from_pretrained(model, folder))
