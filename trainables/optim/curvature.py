"""The gradients that Sophia-G estimates the curvature from (Liu et al. 2023, arXiv 2305.14342, algorithm 2).

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
    """An optimizer that takes gradients for an estimate of the curvature, such as ``sophia.Sophia``."""

    update_period: int
    """Steps between two estimates."""

    def estimate_curvature(self, num_tokens: int) -> None:
        """Take the current gradients, of ``num_tokens`` tokens, as an estimate for the next step, and clear them."""


def is_due(optimizer: Any, step: int) -> bool:
    """Return whether the curvature is to be estimated before a step, counted from 1."""
    return isinstance(optimizer, TakesCurvature) and (step - 1) % optimizer.update_period == 0


def drawn_nll(
    model: Any, encoded: EncodedSet, indices: npt.NDArray[np.int64], *, targets: int, device: Any, seed: int, step: int
) -> torch.Tensor:
    """Return the NLL of tokens that are drawn from the model in place of the targets, their contexts unchanged.

    What is drawn for an example is a function of seed and step, whichever worker and micro-batch it is in.

    Args:
        model: the model.
        encoded: the set.
        indices: the examples of this pass.
        targets: number of target tokens of the whole step, by which the sum is divided.
        device: where the model is.
        seed: of the trial.
        step: the step, counted from 1.

    Returns:
        A scalar with gradient, nats per token: this pass's share of the mean over the step.
    """
    batch: Batch = collate(encoded, indices, device=device)
    uniform_BT = np.zeros(batch["labels"].shape)
    for row, index in enumerate(indices):
        uniform_BT[row] = generator(seed, "curvature", step, int(index)).random(uniform_BT.shape[1])
    drawn = score_drawn(model, batch, torch.from_numpy(uniform_BT).float().to(device))
    return -drawn.logp_BT.sum() / targets
