"""The frozen base model that some objectives compare with."""

from typing import Any

import torch
from accelerate import Accelerator


class Reference:
    """Gives a model's logits as it is now, for ever: without gradient or dropout, in the precision of ascent.

    It is whole on each worker of a team, one whose own model is cut into shards included.
    """

    def __init__(self, accelerator: Accelerator, model: Any) -> None:
        self._accelerator = accelerator
        self._model = model.to(accelerator.device).eval().requires_grad_(False)
        self.config = model.config

    def __call__(self, **inputs: Any) -> Any:
        """Run the model, as any model of Transformers is run."""
        with torch.no_grad(), self._accelerator.autocast():
            return self._model(**inputs)
