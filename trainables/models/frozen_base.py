"""The frozen base model that some objectives compare with."""

from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator

from trainables.models.adapters import has_adapters
from trainables.models.weights import WeightsSnapshot


class FrozenBase:
    """The base model, to compute logits with: without gradients or dropout, in the precision of ascent.

    A model with adapters serves as its own base, with the adapters turned off. Otherwise a second copy of the model is
    kept, unsharded on each worker, even where the trained model is sharded.
    """

    def __init__(self, accelerator: Accelerator, model: Any, base: WeightsSnapshot) -> None:
        self._accelerator = accelerator
        self._adapted = model if has_adapters(model) else None
        self._model = model if has_adapters(model) else base.build().to(accelerator.device).requires_grad_(False)
        self.config = self._model.config

    def __call__(self, **inputs: Any) -> Any:
        """Run the base model like any model of Transformers."""
        was_training = self._model.training
        without_adapters = nullcontext() if self._adapted is None else self._adapted.disable_adapter()
        with torch.no_grad(), self._accelerator.autocast(), without_adapters:
            outputs = self._model.eval()(**inputs)
        self._model.train(was_training)
        return outputs
