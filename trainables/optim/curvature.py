"""The estimate of the curvature that Sophia-G divides by (Liu et al. 2023, arXiv 2305.14342), which is in ``sophia``.

Shape legend: B batch, T tokens.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from trainables.encoding import Batch, EncodedSet, collate
from trainables.metrics import score_drawn
from trainables.seeding import generator


@runtime_checkable
class TakesCurvature(Protocol):
    """An optimizer that is told of the curvature from outside."""

    update_period: int
    """Steps between two estimates."""

    def estimate_curvature(self, num_tokens: int) -> None:
        """Take the gradients for an estimate from ``num_tokens`` tokens, for the next step, and clear them."""


def is_due(optimizer: Any, step: int) -> bool:
    """Tell whether the optimizer wants the curvature estimated before a step, counted from 1."""
    return isinstance(optimizer, TakesCurvature) and (step - 1) % optimizer.update_period == 0


def drawn_nll(
    model: Any, encoded: EncodedSet, indices: npt.NDArray[np.int64], *, targets: int, device: Any, seed: int, step: int
) -> torch.Tensor:
    """NLL of tokens that the model draws at the targets' places, their contexts as they are; a scalar with gradient.

    What is drawn for an example is a function of seed and step, whichever worker and micro-batch it is in.

    Args:
        model: the model.
        encoded: the set.
        indices: the examples of this pass.
        targets: target tokens of the whole step.
        device: where the model is.
        seed: of the trial.
        step: the step, counted from 1.
    """
    batch: Batch = collate(encoded, indices, device=device)
    uniform_BT = np.zeros(batch["labels"].shape)
    for row, index in enumerate(indices):
        uniform_BT[row] = generator(seed, "curvature", step, int(index)).random(uniform_BT.shape[1])
    drawn = score_drawn(model, batch, torch.from_numpy(uniform_BT).float().to(device))
    return -drawn.logp_BT.sum() / targets
