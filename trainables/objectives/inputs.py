"""What an objective may look at, and the means that its losses are made of. Shape legend: B batch, T tokens, N examples
of the step.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trainables.encoding import Batch
from trainables.metrics import (
    Predictions,
    Reduction,
    StepCounts,
    example_mean,
    kl_divergence,
    predict,
    step_mean,
    token_scores,
)
from trainables.objectives.settings import KLPositions


@dataclass(frozen=True, kw_only=True)
class ObjectiveInputs:
    """The batches of a step, or of a part of one, and the models. ``compute`` has checked that what is needed is there.

    Every mean is this part's share of the mean over the whole step, unless ``compat`` is given.
    """

    model: Any
    """The model that is unlearning."""
    forget: Batch
    base: Any = None
    """The frozen base model, or what computes its logits; None: nothing compares with it."""
    retain: Batch | None = None
    alternate: Batch | None = None
    """The forget examples with other answers, row by row."""
    reduction: Reduction = "token"
    """How positions weigh in a mean."""
    compat: str | None = None
    """The project whose reductions are taken exactly; None: ours."""
    forget_counts: StepCounts | None = None
    """Counts of the whole step's forget examples; None: ``forget`` is all of them."""
    retain_counts: StepCounts | None = None
    """The same for the retained examples."""

    def predict_forget(self) -> Predictions:
        """Run the model on the forget batch, with gradient."""
        return predict(self.model, self.forget)

    def predict_base(self, batch: Batch) -> Predictions:
        """Run the frozen base model on a batch, without gradient."""
        with torch.no_grad():
            return predict(self.base, batch)

    def forget_mean(self, values_BT: torch.Tensor, at_BT: torch.Tensor, *, ignored: int = 0) -> torch.Tensor:
        """Return the mean of values [B, T], which are 0 elsewhere, over the forget targets at ``at_BT``, a scalar.

        These are all targets but the first ``ignored`` of each example.
        """
        counts = self.forget_counts
        counts_N = None if counts is None else np.maximum(counts.targets_N - ignored, 0)
        return step_mean(values_BT, at_BT, self.reduction, counts_N)

    def forget_example_mean(self, values_B: torch.Tensor, predictions: Predictions) -> torch.Tensor:
        """Return the mean of one value of each forget example, a scalar; examples without a target are left out."""
        counts_N = None if self.forget_counts is None else self.forget_counts.targets_N
        return example_mean(values_B, predictions.is_target_BT.any(dim=-1), counts_N)

    def forget_nll(self) -> torch.Tensor:
        """Return the NLL of the forget batch in nats per target token, a scalar with gradient."""
        scores = token_scores(self.predict_forget())
        return self.forget_mean(-scores.logp_BT, scores.is_target_BT)

    def retain_nll(self) -> torch.Tensor:
        """Return the NLL of the retain batch in nats per target token, a scalar with gradient."""
        assert self.retain is not None
        scores = token_scores(predict(self.model, self.retain))
        counts_N = None if self.retain_counts is None else self.retain_counts.targets_N
        return step_mean(-scores.logp_BT, scores.is_target_BT, self.reduction, counts_N)

    def retain_kl(self, positions: KLPositions) -> torch.Tensor:
        """Return KL(base model || model) on the retain batch in nats per position, a scalar with gradient."""
        assert self.retain is not None
        current, counts = predict(self.model, self.retain), self.retain_counts
        at_BT, counts_N = current.is_target_BT, None if counts is None else counts.targets_N
        if self.compat is not None:  # padding as well, unless there is no example
            at_BT, counts_N = at_BT.any().expand_as(at_BT), None
        elif positions == "all":
            at_BT, counts_N = current.is_token_BT, None if counts is None else counts.tokens_N
        return step_mean(kl_divergence(self.predict_base(self.retain), current, at_BT), at_BT, self.reduction, counts_N)
