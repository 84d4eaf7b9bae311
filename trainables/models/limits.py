"""What a model can read: how many positions it has learned, and which token ids it has embeddings for; and its size."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from trainables.config import ModelConfig
from trainables.models.loading import auto_class, cannot_load, code_of, needs_its_code

_MODULES = ("position", "wpe")
"""Parts of the names of embeddings that hold one row for each position, ..."""
_TENSORS = ("embed_positions", "pos_encoding")
"""... and names of tensors that do."""
_GROWS = ("make_weight", "make_weights")
"""Methods of tables that are made longer as they are needed."""
_ADAPTABLE = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.MultiheadAttention, Conv1D)
"""Kinds of modules that PEFT puts low-rank adapters beside."""
_ELSEWHERE = ("vision", "visual", "image", "audio")
"""Parts of the names of towers that read no text."""
_SETTINGS = {"mpt": "max_seq_len"}
"""Settings that bound the length where there is no table, by ``model_type``."""


@dataclass(frozen=True, kw_only=True)
class ModelLimits:
    """Bounds of what a model can be given; None where it has none, as with relative or rotary positions."""

    positions: int | None
    """Longest sequence that a causal model, or the encoder of an encoder-decoder, can read, in tokens."""
    target_positions: int | None
    """Longest target of an encoder-decoder, in tokens."""
    ids: int | None
    """Rows of the embedding that reads: token ids lie below."""
    target_ids: int | None
    """The same of the decoder, and of the output: whichever has fewer rows."""
    parameters: int | None = None
    """How many there are; shared ones once. None: it is not known."""


def limits_of(network: Any) -> ModelLimits:
    """Find the limits of a model, which may be on the ``meta`` device."""
    apart = network.config.is_encoder_decoder
    lengths: dict[bool, list[int]] = {False: [], True: []}  # by whether it is the decoder's
    for name, length in _position_tables(network):
        lengths[apart and "decoder" in name.split(".")].append(length)
    read, written = _rows(network)
    return ModelLimits(
        positions=min(lengths[False], default=None),
        target_positions=min(lengths[True], default=None),
        ids=read,
        target_ids=written,
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
    """Build a model on the ``meta`` device; None: its architecture needs real tensors to be built."""
    try:
        with torch.device("meta"):
            return auto_class(configuration.is_encoder_decoder).from_config(configuration, **code_of(model))
    except Exception as error:  # whatever building raises there; workers look again
        if needs_its_code(model, error):
            raise cannot_load(model, error) from error
        return None


def _position_tables(network: Any) -> list[tuple[str, int]]:
    """List tables of learned or precomputed absolute positions, by name, with the longest sequence each allows."""
    found = []
    for name, module in network.named_modules():
        if any(tower in name for tower in _ELSEWHERE):
            continue
        if isinstance(module, nn.Embedding) and _holds_positions(module, name.rpartition(".")[2]):
            found.append((name, module.num_embeddings - _rows_before_the_first(module)))
        tensors = {own: getattr(module, own, None) for own in _TENSORS}
        found += [(f"{name}.{own}", len(held)) for own, held in tensors.items() if isinstance(held, torch.Tensor)]
    setting = _SETTINGS.get(network.config.model_type)
    return [*found, (setting, getattr(network.config, setting))] if setting is not None else found


def _holds_positions(table: nn.Embedding, name: str) -> bool:
    absolute = any(part in name for part in _MODULES) and "relative" not in name
    return absolute and not any(hasattr(table, method) for method in _GROWS)


def _rows_before_the_first(table: nn.Embedding) -> int:
    """Count the rows that stand before that of the first position: OPT's and BART's two, or RoBERTa's padding."""
    offset = getattr(table, "offset", None)
    if isinstance(offset, int):
        return offset
    return 0 if table.padding_idx is None else table.padding_idx + 1


def _rows(network: Any) -> tuple[int | None, int | None]:
    """Return the rows of what reads token ids, and of what the target's ids index: decoder and output."""
    read = _rows_of(_embedding(network))
    written = [_rows_of(network.get_output_embeddings())]
    if network.config.is_encoder_decoder:
        read = _rows_of(_embedding(network.get_encoder())) or read
        written.append(_rows_of(_embedding(network.get_decoder())))
    return read, min((rows for rows in written if rows is not None), default=read)


def _embedding(part: Any) -> Any:
    try:
        return part.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return getattr(part, "embed_tokens", None)


def _rows_of(module: Any) -> int | None:
    rows: int | None = getattr(module, "num_embeddings", None) or getattr(module, "out_features", None)
    return rows
