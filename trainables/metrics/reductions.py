"""How the positions of a step weigh in its mean, and the mean. It loads no PyTorch, so that settings can name it.

Shape legend: B batch, T positions, N examples of a step.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.encoding import EncodedSet

Reduction = Literal["token", "sequence"]
"""``token``: every counted position weighs alike; ``sequence``: every example does, by the mean of its positions."""


@dataclass(frozen=True, kw_only=True)
class StepCounts:
    """How many positions of each example of a step count, so that the losses of its micro-batches add up."""

    targets_N: npt.NDArray[np.int64]
    """Target tokens that are predicted."""
    tokens_N: npt.NDArray[np.int64]
    """Positions where ``Predictions.is_token_BT`` is true."""

    @staticmethod
    def of(encoded: "EncodedSet") -> "StepCounts":
        """Count the positions of a set that is all of the step."""
        targets_N = encoded.num_targets_N
        return StepCounts(
            targets_N=targets_N, tokens_N=targets_N if encoded.encoder_decoder else np.diff(encoded.offsets)
        )


def step_mean(
    values_BT: "Tensor", at_BT: "Tensor", reduction: Reduction, counts_N: npt.NDArray[np.int64] | None
) -> "Tensor":
    """Return a batch's share of the mean over its step, a scalar; the shares of all micro-batches add up to that mean.

    Examples without a position that counts are left out of every mean.

    Args:
        values_BT: values, 0 at positions that do not count.
        at_BT: the positions that count.
        reduction: how positions weigh.
        counts_N: the number of positions that count in each example of the step; None: the batch is all of it.
    """
    own_B = at_BT.sum(dim=-1)
    counts_N = own_B.cpu().numpy() if counts_N is None else counts_N
    if reduction == "token":
        return values_BT.sum() / max(1, int(counts_N.sum()))
    return (values_BT.sum(dim=-1) / own_B.clamp(min=1)).sum() / max(1, int((counts_N > 0).sum()))


def example_mean(values_B: "Tensor", at_B: "Tensor", counts_N: npt.NDArray[np.int64] | None) -> "Tensor":
    """Return a batch's share of the mean over its step's examples at ``at_B``, a scalar, as ``step_mean`` does."""
    num_examples = int(at_B.sum()) if counts_N is None else int((counts_N > 0).sum())
    return values_B.where(at_B, 0).sum() / max(1, num_examples)
