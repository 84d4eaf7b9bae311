"""What a model can read: how many positions, and which token ids; and how many parameters it has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from trainables.config import ModelConfig
from trainables.models.files.pretrained import auto_class, cannot_load, needs_remote_code, remote_code_option

_POSITION_EMBEDDINGS = ("position", "wpe")
"""Parts of the names of embeddings that have one row for each position."""
_POSITION_TENSORS = ("embed_positions", "pos_encoding")
"""Names of tensors that have one row for each position."""
_GROW_METHODS = ("make_weight", "make_weights")
"""Methods of embeddings that grow as longer sequences need them."""
_ADAPTABLE = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.MultiheadAttention, Conv1D)
"""Kinds of modules that PEFT can add low-rank adapters to."""
_NOT_TEXT = ("vision", "visual", "image", "audio")
"""Parts of the names of modules that read no text."""
_LENGTH_SETTINGS = {"mpt": "max_seq_len"}
"""Settings that bound the length where there is no position embedding, by ``model_type``."""


@dataclass(frozen=True, kw_only=True)
class ModelLimits:
    """Bounds of a model's input; None where there is no bound, as with relative or rotary positions."""

    positions: int | None
    """Longest sequence that a causal model, or the encoder of an encoder-decoder, can read, in tokens."""
    target_positions: int | None
    """Longest target of an encoder-decoder, in tokens."""
    ids: int | None
    """Rows of the input embedding; every token id must be lower."""
    target_ids: int | None
    """The same for targets: the rows of the decoder's embedding or of the output matrix, whichever are fewer."""
    parameters: int | None = None
    """Number of parameters, tied ones counted once. None: unknown."""


def limits_of(network: Any) -> ModelLimits:
    """Return the limits of a model, which may be on the ``meta`` device."""
    apart = network.config.is_encoder_decoder
    lengths: dict[bool, list[int]] = {False: [], True: []}  # key: whether it is of the decoder
    for name, length in _position_tables(network):
        lengths[apart and "decoder" in name.split(".")].append(length)
    input_rows, target_rows = _rows(network)
    return ModelLimits(
        positions=min(lengths[False], default=None),
        target_positions=min(lengths[True], default=None),
        ids=input_rows,
        target_ids=target_rows,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
    )


@dataclass(frozen=True, kw_only=True)
class ModelStructure:
    """What is known of a model that is built without weights."""

    limits: ModelLimits
    adaptable_modules: Mapping[str, str]
    """Classes of the modules that adapters can stand beside, by name; empty if the model cannot be built so."""


def structure_of(configuration: Any, model: ModelConfig) -> ModelStructure:
    """Return the structure of a model that is not loaded, from its configuration. It is built once, without weights.

    Raises:
        UnlearningError: the model takes Python code that comes with it, which may not run.
    """
    network = _without_weights(configuration, model)
    if network is None:
        rows = getattr(configuration, "vocab_size", None)
        limits = ModelLimits(positions=None, target_positions=None, ids=rows, target_ids=rows)
        return ModelStructure(limits=limits, adaptable_modules={})
    adaptable = {
        name: type(module).__name__ for name, module in network.named_modules() if isinstance(module, _ADAPTABLE)
    }
    return ModelStructure(limits=limits_of(network), adaptable_modules=adaptable)


def _without_weights(configuration: Any, model: ModelConfig) -> Any | None:
    """Return a model on the ``meta`` device; None: it cannot be built without real tensors."""
    try:
        with torch.device("meta"):
            return auto_class(configuration.is_encoder_decoder).from_config(configuration, **remote_code_option(model))
    except Exception as error:  # whatever building raises; workers check again with the real model
        if needs_remote_code(model, error):
            raise cannot_load(model, error) from error
        return None


def _position_tables(network: Any) -> list[tuple[str, int]]:
    """Return the tables of absolute positions, learned or computed, by name and with the longest sequence of each."""
    found = []
    for name, module in network.named_modules():
        if any(tower in name for tower in _NOT_TEXT):
            continue
        if isinstance(module, nn.Embedding) and _holds_positions(module, name.rpartition(".")[2]):
            found.append((name, module.num_embeddings - _rows_before_the_first(module)))
        tensors = {own: getattr(module, own, None) for own in _POSITION_TENSORS}
        found += [(f"{name}.{own}", len(held)) for own, held in tensors.items() if isinstance(held, torch.Tensor)]
    setting = _LENGTH_SETTINGS.get(network.config.model_type)
    return [*found, (setting, getattr(network.config, setting))] if setting is not None else found


def _holds_positions(table: nn.Embedding, name: str) -> bool:
    absolute = any(part in name for part in _POSITION_EMBEDDINGS) and "relative" not in name
    return absolute and not any(hasattr(table, method) for method in _GROW_METHODS)


def _rows_before_the_first(table: nn.Embedding) -> int:
    """Return the number of rows before that of the first position: two in OPT and BART, the padding row in RoBERTa."""
    offset = getattr(table, "offset", None)
    if isinstance(offset, int):
        return offset
    return 0 if table.padding_idx is None else table.padding_idx + 1


def _rows(network: Any) -> tuple[int | None, int | None]:
    """Return the number of rows for input ids, and of those for target ids (of decoder and output matrix)."""
    input_rows = _rows_of(_embedding(network))
    target_rows = [_rows_of(network.get_output_embeddings())]
    if network.config.is_encoder_decoder:
        input_rows = _rows_of(_embedding(network.get_encoder())) or input_rows
        target_rows.append(_rows_of(_embedding(network.get_decoder())))
    return input_rows, min((rows for rows in target_rows if rows is not None), default=input_rows)


def _embedding(part: Any) -> Any:
    try:
        return part.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return getattr(part, "embed_tokens", None)


def _rows_of(module: Any) -> int | None:
    rows: int | None = getattr(module, "num_embeddings", None) or getattr(module, "out_features", None)
    return rows
