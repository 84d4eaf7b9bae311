"""Adapters made, loaded and merged by PEFT. Importing it takes as long as PyTorch, so ``adapters`` imports it late."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peft
import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer

from trainables.config import LoraConfig
from trainables.errors import UnlearningError
from trainables.models.tied_weights import shared_names, sync_tied_weights, tie_parameters_as
from trainables.torch_seeding import seeded_torch


def add_adapters(model: Any, lora: LoraConfig, *, seed: int) -> Any:
    """Freeze a model and add adapters that change nothing yet: matrix A is random by ``seed``, B is zero.

    Raises:
        UnlearningError: the model has none of the named modules.
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
    """Untie every adapted matrix: give it a tensor of its own.

    Of two tied matrices only one may have an adapter, and merging that adapter would change both.

    Raises:
        UnlearningError: the adapted matrix is one that others are tied to, so that they cannot be separated.
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
                f"model.lora: target_modules name '{name.partition('.base_layer.')[0]}', whose matrix is shared "
                f"with {modules}; name those of these modules that are to be trained instead"
            )
        if others or any(shared[name] == shared[other] for other in adapted - {name}):
            module, _, attribute = name.rpartition(".")
            weight = base.get_parameter(name)
            own = torch.nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
            setattr(base.get_submodule(module), attribute, own)
    sync_tied_weights(base)


@contextmanager
def temporary_adapters(model: Any, lora: LoraConfig, *, seed: int) -> Iterator[Any]:
    """Add adapters to a model in a block, and yield the model with them.

    Afterwards the model is without them. Its weights, which of them are tied, and which are trained are as they were.

    Raises:
        UnlearningError: the model has none of the named modules.
    """
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    ties = shared_names(model)
    adapted = add_adapters(model, lora, seed=seed)
    try:
        yield adapted
    finally:
        adapted.unload()
        tie_parameters_as(model, ties)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(trained[name])


def merged(model: Any) -> Any:
    """Return the model with its adapters merged into its weights and removed."""
    config = model.get_base_model().config
    tied = getattr(config, "tie_word_embeddings", None)
    plain = model.merge_and_unload()
    if tied is not None:
        config.tie_word_embeddings = tied  # PEFT unsets it even if encoder and decoder are still tied
    sync_tied_weights(plain)
    return plain


def load(model: Any, folder: Path) -> Any:
    """Return the model with the adapters of a folder, which were trained beside it, merged into its weights."""
    adapted = PeftModel.from_pretrained(model, folder)
    _untie(adapted)
    return merged(adapted)
