"""Which parameters of a model are one tensor under several names: found, made so, and said truly by the model itself.

A checkpoint may have an output matrix of its own where its configuration says that it is the embeddings'. Transformers
then leaves them apart, but the configuration goes on saying otherwise, and whoever builds from it would tie them.
"""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel


def shared_names(model: Any) -> dict[str, str]:
    """Give for each name of a parameter the first name of the same tensor, its own if it is the first."""
    first: dict[Any, str] = {}
    named = model.named_parameters(remove_duplicate=False)
    return {name: first.setdefault(_place(parameter), name) for name, parameter in named}


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Tell a tensor's memory from any other's."""
    pointer = tensor.untyped_storage().data_ptr()
    return (pointer, tensor.storage_offset(), tensor.shape, tensor.stride()) if pointer else (id(tensor),)


def tie_parameters_as(model: Any, names: Mapping[str, str]) -> None:
    """Make a model's parameters share tensors as ``names`` says (see ``shared_names``), and no others.

    The values of those that are newly apart are undefined.
    """
    taken: set[int] = set()
    parameters: dict[str, torch.nn.Parameter] = {}
    for name, first in names.items():
        if name == first:
            parameter = model.get_parameter(name)
            if id(parameter) in taken:
                parameter = torch.nn.Parameter(torch.empty_like(parameter), requires_grad=parameter.requires_grad)
            taken.add(id(parameter))
            parameters[name] = parameter
        module, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(module), attribute, parameters[first])
    sync_tied_weights(model)


def sync_tied_weights(model: Any) -> None:
    """See that nothing ties later what is apart now: neither the model itself, nor who reads its configuration."""
    parts = [part for part in model.modules() if isinstance(part, PreTrainedModel)]
    tied = False
    for part in parts:
        said = part.get_expanded_tied_weights_keys()
        true = {target: source for target, source in said.items() if _are_one(part, target, source)}
        tied = tied or bool(true)
        if true != said:
            part._tied_weights_keys = true
            part.all_tied_weights_keys = {
                target: source for target, source in part.all_tied_weights_keys.items() if target not in said
            } | true
    if not tied:
        for part in parts:
            for config in (part.config, part.config.get_text_config(decoder=True)):
                _say_untied(config)


def _are_one(model: Any, target: str, source: str) -> bool:
    found = [model.get_parameter_or_buffer(name) for name in (target, source)]
    return bool(_place(found[0]) == _place(found[1]))


def _say_untied(config: Any) -> None:
    """Say in a configuration that nothing is tied, if it can be said: of T5 it always reads true."""
    if getattr(config, "tie_word_embeddings", False):
        changed = type(config).from_dict({**config.to_dict(), "tie_word_embeddings": False})
        if not changed.tie_word_embeddings:
            config.tie_word_embeddings = False
