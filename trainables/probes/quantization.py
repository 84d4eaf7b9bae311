"""Quantization: does what was unlearned come back when the weights are stored in few bits, and what is lost?

Unlearning moves weights little, and rounding can undo it (Zhang et al. 2024, arXiv 2410.16454).

Shape legend: O output channels, I inputs, G groups of an output channel.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from trainables.errors import UnlearningError
from trainables.models import has_adapters, is_of_adapters
from trainables.probes.measuring import measure
from trainables.probes.probe import Finding, ProbedModel
from trainables.probes.settings import QuantizationSettings

Layers = dict[str, Any]
"""Modules with a ``weight``, by name."""


def quantization(probed: ProbedModel, settings: QuantizationSettings) -> Iterator[Finding]:
    """Yield for each number of bits the measurements of the model with quantized weights.

    The variants are ``int8`` and ``int4``, and the amount is the number of bits. Adapters are merged into the weights
    first. Scores:

    - ``torchao``: 1 where torchao quantized the weights, 0 where they made a round trip;
    - ``quantized``: the share of the model's parameters that are quantized;
    - ``error``: root mean square of the weights' change, relative to that of the weights;
    - ``diverged``: 1 where a likelihood is not finite; then there is no ``after``.

    Raises:
        UnlearningError: the settings ask for torchao, and it cannot do it.
    """
    before = measure(probed, probed.sets)
    layers = layers_to_quantize(probed.model, embeddings=settings.embeddings)
    quantized = _share_quantized(probed.model, layers)
    for bits in settings.bits:
        with replaceable_weights(probed.model, layers):
            originals = {name: layer.weight for name, layer in layers.items()}
            by_torchao = _quantize(layers, bits, settings)
            scores = {
                "torchao": float(by_torchao),
                "quantized": quantized,
                "error": _relative_error(originals, layers),
            }
            after = measure(probed, probed.sets)
        yield Finding(
            variant=f"int{bits}",
            amount=bits,
            before=before,
            after=after,
            scores=scores if after is not None else {**scores, "diverged": 1.0},
        )


def layers_to_quantize(model: Any, *, embeddings: bool) -> Layers:
    """Return the linear layers of a model by name, without its output layer; with ``embeddings``, that and those too.

    Of a layer with adapters, it is the layer beside them. Weights that are in no such layer, as those of a mixture of
    experts may be, are not quantized.
    """
    base = model.get_base_model() if has_adapters(model) else model
    outside = [base.get_input_embeddings(), base.get_output_embeddings()]
    ends = {id(_without_adapters(module)) for module in outside if module is not None}
    kinds = (torch.nn.Linear, Conv1D, torch.nn.Embedding) if embeddings else (torch.nn.Linear, Conv1D)
    return {
        name: module
        for name, module in base.named_modules()
        if isinstance(module, kinds)
        if (embeddings or id(module) not in ends) and not is_of_adapters(name)
    }


def _without_adapters(module: Any) -> Any:
    return getattr(module, "base_layer", module)


@contextmanager
def replaceable_weights(model: Any, layers: Layers) -> Iterator[None]:
    """Let a block replace the weights of layers, with adapters merged into them; afterwards the same tensors are back.

    Merging changes weights in place, so that a model with adapters gets copies of all weights that have some.
    """
    adapted = has_adapters(model)
    changed = layers | (_with_adapters(model) if adapted else {})
    originals = {name: layer.weight for name, layer in changed.items()}
    if adapted:
        for layer in changed.values():
            layer.weight = torch.nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
        model.merge_adapter()
    try:
        yield
    finally:
        if adapted:
            for name, layer in changed.items():  # unmerging subtracts in place: from copies, never from quantized ones
                layer.weight = torch.nn.Parameter(originals[name].detach().clone(), requires_grad=False)
            model.unmerge_adapter()
        for name, layer in changed.items():
            layer.weight = originals[name]
            layer.__dict__.pop("extra_repr", None)  # torchao's


def _with_adapters(model: Any) -> Layers:
    """Return the layers that adapters stand beside, by name."""
    return {
        f"{name}.base_layer": module.base_layer
        for name, module in model.get_base_model().named_modules()
        if hasattr(module, "base_layer") and hasattr(module.base_layer, "weight")
    }


def _quantize(layers: Layers, bits: int, settings: QuantizationSettings) -> bool:
    """Replace the weights of layers by quantized ones, and return whether it was torchao that quantized them."""
    if settings.backend != "round_trip":
        originals = {name: layer.weight for name, layer in layers.items()}
        try:
            if find_spec("torchao") is None:
                raise ImportError("it is not installed (pip install 'unlearn-sweep[quantization]')")
            # imported here: it needs an optional package, whose import takes a second
            by_torchao = import_module("trainables.probes.torchao_weights").quantize
            by_torchao(layers.values(), bits=bits, group_size=settings.group_size)
            return True
        except Exception as error:  # whatever torchao raises, it does not serve for this model on this machine
            if settings.backend == "torchao":
                raise UnlearningError(
                    f"probe 'quantization': torchao cannot quantize this model to {bits} bits on this machine: "
                    f"{error}; give backend: round_trip, or auto"
                ) from error
            for name, layer in layers.items():
                layer.weight = originals[name]
    for layer in layers.values():
        layer.weight = torch.nn.Parameter(_rounded(layer, bits, settings.group_size), requires_grad=False)
    return False


def _rounded(layer: Any, bits: int, group_size: int) -> torch.Tensor:
    """Return what the quantized weights of a layer stand for."""
    weight = layer.weight.detach()
    weight_OI = weight.T if isinstance(layer, Conv1D) else weight
    rounded_OI = round_trip(weight_OI, bits=bits, group_size=None if bits == 8 else group_size)
    return rounded_OI.T.contiguous() if isinstance(layer, Conv1D) else rounded_OI


def round_trip(weight_OI: torch.Tensor, *, bits: int, group_size: int | None) -> torch.Tensor:
    """Return weights as they are after symmetric quantization, in their own dtype.

    With L = 2^(bits - 1) - 1 levels on either side of 0 and the scale s = max |w| / L of each group of weights, a
    weight becomes s round(w / s), half to even. No weight moves by more than s / 2, but for rounding to the dtype.

    Args:
        weight_OI: the weights of a layer.
        bits: of a quantized weight.
        group_size: weights of an output channel, side by side, that share a scale; None: all of it do.
    """
    levels = 2 ** (bits - 1) - 1
    parts = []
    for group_OG in torch.split(weight_OI.float(), group_size or weight_OI.shape[1], dim=1):
        scale_O1 = group_OG.abs().amax(dim=1, keepdim=True) / levels
        scale_O1 = torch.where(scale_O1 > 0, scale_O1, torch.ones_like(scale_O1))  # a group of zeros stays one
        parts.append((group_OG / scale_O1).round().clamp(-levels, levels) * scale_O1)
    return torch.cat(parts, dim=1).to(weight_OI.dtype)


def _share_quantized(model: Any, layers: Layers) -> float:
    """Return what share of a model's parameters the layers' weights are; tied ones count once, adapters never."""
    named = [(name, parameter) for name, parameter in model.named_parameters() if not is_of_adapters(name)]
    chosen = {id(layer.weight) for layer in layers.values()}
    return float(sum(p.numel() for _, p in named if id(p) in chosen) / sum(p.numel() for _, p in named))


def _relative_error(originals: dict[str, torch.Tensor], layers: Layers) -> float:
    changed = size = 0.0
    with torch.no_grad():
        for name, original in originals.items():
            weight = original.float()
            changed += float((_values(layers[name].weight) - weight).square().sum())
            size += float(weight.square().sum())
    return (changed / size) ** 0.5 if size else 0.0


def _values(weight: Any) -> torch.Tensor:
    """Return the weights in float32; of those that torchao has quantized, what they stand for."""
    values: torch.Tensor = weight.dequantize() if hasattr(weight, "qdata") else weight.detach()
    return values.float()
