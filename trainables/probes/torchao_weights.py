"""Weights quantized by torchao, an optional package: ``quantization`` imports this where it is installed."""

from collections.abc import Iterable
from typing import Any

import torch
from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, quantize_
from torchao.quantization.granularity import PerGroup

int4: torch.dtype = torch.int4  # type: ignore[attr-defined]  # PyTorch has it, its stubs do not


def quantize(layers: Iterable[Any], *, bits: int, group_size: int) -> None:
    """Replace the weights of linear layers by torchao's quantized ones, and try each layer once.

    int8 has a scale for each output channel, int4 one for each group of a channel. Both are symmetric.

    Args:
        layers: modules.
        bits: 8 or 4.
        group_size: weights that share a scale, with 4 bits; a channel that is shorter is one group.

    Raises:
        Exception: whatever torchao raises where it cannot do it, for example where a channel is not filled by groups.
            Some weights may have been replaced.
        TypeError: a module is no ``torch.nn.Linear``.
    """
    for layer in layers:
        if not isinstance(layer, torch.nn.Linear):
            raise TypeError(f"it has no layers of the kind {type(layer).__name__}")
        group = PerGroup(min(group_size, layer.in_features))
        per_channel = Int8WeightOnlyConfig(set_inductor_config=False)
        dtype, device = layer.weight.dtype, layer.weight.device
        quantize_(layer, per_channel if bits == 8 else IntxWeightOnlyConfig(int4, group))
        with torch.no_grad():
            layer(torch.zeros(1, layer.in_features, dtype=dtype, device=device))
