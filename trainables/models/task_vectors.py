"""Task vector negation: subtracting what a model has learned (Ilharco et al. 2023, arXiv 2212.04089)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from trainables.distributed import sharded_like
from trainables.models.adapters import has_adapters
from trainables.models.weights import WeightsSnapshot, named_tensors


@contextmanager
def negated(model: Any, base: WeightsSnapshot, scale: float) -> Iterator[None]:
    """Change the model to base - scale * (model - base) in a block, and restore it bit for bit afterwards.

    Adapters are a product B A that begins as zero: there B is negated, which negates the product.

    Args:
        model: the unwrapped model or this worker's shards of it.
        base: the model before it learned.
        scale: factor of the task vector that is subtracted.
    """
    learned = {name: tensor.detach().clone() for name, tensor in _negatable(model, base).items()}
    with torch.no_grad():
        for name, tensor in _negatable(model, base).items():
            start = sharded_like(base.start(name, tensor.dtype), tensor).to(tensor.device)
            tensor.copy_(start - scale * (tensor - start))
    try:
        yield
    finally:
        with torch.no_grad():
            for name, tensor in _negatable(model, base).items():
                tensor.copy_(learned[name])


def _negatable(model: Any, base: WeightsSnapshot) -> dict[str, torch.Tensor]:
    """Return the tensors of the task vector. A sharded model may have other tensor objects after each pass."""
    only_b = has_adapters(model)
    return {
        name: tensor
        for name, tensor in named_tensors(model).items()
        if tensor.is_floating_point() and (not only_b or "lora_B" in name or "lora_embedding_B" in name)
    }
