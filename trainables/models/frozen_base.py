"""The frozen base model that some objectives compare with."""

from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator

from trainables.models.adapters import has_adapters
from trainables.models.weights import WeightsSnapshot


class FrozenBase:
    """Gives the base model's logits, for ever: without gradient or dropout, in the precision of ascent.

    A model that trains adapters is its own reference, with these turned off. For others it is a second copy, whole on
    each worker of a team, one whose own model is cut into shards included.
    """

    def __init__(self, accelerator: Accelerator, model: Any, base: WeightsSnapshot) -> None:
        self._accelerator = accelerator
        self._adapted = model if has_adapters(model) else None
        self._model = model if has_adapters(model) else base.build().to(accelerator.device).requires_grad_(False)
        self.config = self._model.config

    def __call__(self, **inputs: Any) -> Any:
        """Run the model, as any model of Transformers is run."""
        was_training = self._model.training
        without_adapters = nullcontext() if self._adapted is None else self._adapted.disable_adapter()
        with torch.no_grad(), self._accelerator.autocast(), without_adapters:
            outputs = self._model.eval()(**inputs)
        self._model.train(was_training)
        return outputs
