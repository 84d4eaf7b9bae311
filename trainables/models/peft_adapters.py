"""What is done with adapters by PEFT, whose import takes as long as PyTorch's: see ``adapters``, which loads it."""

from pathlib import Path
from typing import Any

import peft
import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer

from trainables.config import LoraConfig
from trainables.errors import UnlearningError
from trainables.models.tied_weights import shared_names, sync_tied_weights
from trainables.torch_seeding import seeded_torch


def add_adapters(model: Any, lora: LoraConfig, *, seed: int) -> Any:
    """Freeze a model and put adapters beside its weights that change nothing yet: A random of ``seed``, B zero.

    Raises:
        UnlearningError: the model has none of the modules named.
    """
    modules = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    config = peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=modules)
    try:
        with seeded_torch(seed, "adapters"):
            adapted = peft.get_peft_model(model, config)
    except ValueError as error:
        raise UnlearningError(
            f"model.lora: {error}; target_modules are names of linear layers, or all-linear"
        ) from error
    _untie(adapted)
    return adapted


def _untie(model: Any) -> None:
    """Give each adapted matrix a tensor of its own: of one that is tied, what is learned beside it here is not learned
    there, and merging would put it into both.

    Raises:
        UnlearningError: others would stay tied to it, which cannot be.
    """
    base = model.get_base_model()
    ties = base.get_expanded_tied_weights_keys(all_submodels=True)
    shared = shared_names(base)
    layers = {name for name, module in base.named_modules() if isinstance(module, BaseTunerLayer)}
    adapted = {name for name in shared if name.partition(".base_layer.")[0] in layers and ".base_layer." in name}
    for name in adapted:
        others = [other for other, first in shared.items() if first == shared[name] and other not in adapted]
        if len(others) > 1 and name.replace(".base_layer.", ".") in ties.values():
            modules = ", ".join(other.rpartition(".")[0] for other in others)
            raise UnlearningError(
                f"model.lora: target_modules name '{name.partition('.base_layer.')[0]}', whose matrix is that of "
                f"{modules}; name those of them that are to learn instead"
            )
        if others or any(shared[name] == shared[other] for other in adapted - {name}):
            module, _, attribute = name.rpartition(".")
            weight = base.get_parameter(name)
            own = torch.nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
            setattr(base.get_submodule(module), attribute, own)
    sync_tied_weights(base)


def merged(model: Any) -> Any:
    """Add what the adapters have learned to the weights, and take the adapters away."""
    config = model.get_base_model().config
    tied = getattr(config, "tie_word_embeddings", None)
    whole = model.merge_and_unload()
    if tied is not None:
        config.tie_word_embeddings = tied  # PEFT takes it away from an encoder and a decoder that are still tied
    sync_tied_weights(whole)
    return whole


def load(model: Any, folder: Path) -> Any:
    """Merge the adapters of a folder into the model that they were trained beside."""
    adapted = PeftModel.from_pretrained(model, folder)
    _untie(adapted)
    return merged(adapted)
