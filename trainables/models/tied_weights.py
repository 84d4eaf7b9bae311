"""Tied weights: parameters that are one tensor under several names.

A checkpoint may have an output matrix of its own although its configuration ties it to the embeddings. Transformers
then leaves them separate, but the configuration still declares them tied, and a model built from it would tie them.
"""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel


def shared_names(model: Any) -> dict[str, str]:
    """Return for each parameter name the first name of the same tensor, which is the name itself if it is not tied."""
    first: dict[Any, str] = {}
    named = model.named_parameters(remove_duplicate=False)
    return {name: first.setdefault(_memory_of(parameter), name) for name, parameter in named}


def _memory_of(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return a key that two tensors share if they are the same memory, viewed alike."""
    pointer = tensor.untyped_storage().data_ptr()
    return (pointer, tensor.storage_offset(), tensor.shape, tensor.stride()) if pointer else (id(tensor),)


def tie_parameters_as(model: Any, names: Mapping[str, str]) -> None:
    """Tie a model's parameters as ``names`` says (see ``shared_names``), and separate all others.

    The values of newly separated parameters are undefined.
    """
    used: set[int] = set()
    parameters: dict[str, torch.nn.Parameter] = {}
    for name, first in names.items():
        if name == first:
            parameter = model.get_parameter(name)
            if id(parameter) in used:
                parameter = torch.nn.Parameter(torch.empty_like(parameter), requires_grad=parameter.requires_grad)
            used.add(id(parameter))
            parameters[name] = parameter
        module, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(module), attribute, parameters[first])
    sync_tied_weights(model)


def sync_tied_weights(model: Any) -> None:
    """Make a model and its configuration declare exactly those ties that its parameters have.

    Otherwise the model itself, or a model built from its configuration, would later tie what is separate now.
    """
    parts = [part for part in model.modules() if isinstance(part, PreTrainedModel)]
    tied = False
    for part in parts:
        declared = part.get_expanded_tied_weights_keys()
        actual = {target: source for target, source in declared.items() if _are_tied(part, target, source)}
        tied = tied or bool(actual)
        if actual != declared:
            part._tied_weights_keys = actual
            part.all_tied_weights_keys = {
                target: source for target, source in part.all_tied_weights_keys.items() if target not in declared
            } | actual
    if not tied:
        for part in parts:
            for config in (part.config, part.config.get_text_config(decoder=True)):
                _declare_untied(config)


def _are_tied(model: Any, target: str, source: str) -> bool:
    found = [model.get_parameter_or_buffer(name) for name in (target, source)]
    return bool(_memory_of(found[0]) == _memory_of(found[1]))


def _declare_untied(config: Any) -> None:
    """Turn ``tie_word_embeddings`` off in a configuration, if its class allows it: T5's is always true."""
    if getattr(config, "tie_word_embeddings", False):
        changed = type(config).from_dict({**config.to_dict(), "tie_word_embeddings": False})
        if not changed.tie_word_embeddings:
            config.tie_word_embeddings = False
