"""The frozen base model that some objectives compare with."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator

from trainables.models.adapters import has_adapters
from trainables.models.output_head import SplitOutput, split_output
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
        with self._frozen():
            return self._model(**inputs)

    def split_output(self, inputs: dict[str, Any]) -> SplitOutput | None:
        """Run the base model up to its head: see ``output_head.split_output``."""
        with self._frozen():
            split = split_output(self._model, inputs)
        if split is None:
            return None
        head = split.head

        def frozen_head(hidden: torch.Tensor) -> torch.Tensor:
            with self._frozen():
                return head(hidden)

        return replace(split, head=frozen_head)

    @contextmanager
    def _frozen(self) -> Iterator[None]:
        """Have the base model's weights, without gradients or dropout, while the block runs."""
        was_training = self._model.training
        without_adapters = nullcontext() if self._adapted is None else self._adapted.disable_adapter()
        with torch.no_grad(), self._accelerator.autocast(), without_adapters:
            self._model.eval()
            try:
                yield
            finally:
                self._model.train(was_training)
