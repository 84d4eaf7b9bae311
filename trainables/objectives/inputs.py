"""What an objective may look at, and the means that its losses are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True, kw_only=True)
class ObjectiveInputs:
    """A batch, or a part of a step's, with all settings of its objective. ``compute`` has checked what is needed."""

    model: Any
    forget: Batch
    reference: Any = None
    """Gives logits as the frozen base model does."""
    retain: Batch | None = None
    alternate: Batch | None = None
    """The forget examples with other answers, row by row."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the objective, defaults included."""
    compat: str | None = None
    forget_counts: StepCounts | None = None
    """Of the whole step; None: the batch is all of it."""
    retain_counts: StepCounts | None = None

    @property
    def reduction(self) -> Reduction:
        """How tokens weigh in a mean."""
        reduction: Reduction = self.settings.get("reduction", "token")
        return reduction

    def predict_forget(self) -> Predictions:
        """Run the model on the forget batch, with gradient."""
        return predict(self.model, self.forget)

    def predict_base(self, batch: Batch) -> Predictions:
        """Run the reference model on a batch, without gradient."""
        with torch.no_grad():
            return predict(self.reference, batch)

    def forget_mean(self, values_BT: torch.Tensor, at_BT: torch.Tensor, *, ignored: int = 0) -> torch.Tensor:
        """Average over the forget targets at ``at_BT``: all of them but the first ``ignored`` of each example."""
        counts = self.forget_counts
        counts_N = None if counts is None else np.maximum(counts.targets_N - ignored, 0)
        return step_mean(values_BT, at_BT, self.reduction, counts_N)

    def forget_example_mean(self, values_B: torch.Tensor, predictions: Predictions) -> torch.Tensor:
        """Average one value of each forget example."""
        counts_N = None if self.forget_counts is None else self.forget_counts.targets_N
        return example_mean(values_B, predictions.is_target_BT.any(dim=-1), counts_N)

    def forget_nll(self) -> torch.Tensor:
        """NLL of the forget batch in nats per target token, with gradient."""
        scores = token_scores(self.predict_forget())
        return self.forget_mean(-scores.logp_BT, scores.is_target_BT)

    def retain_loss(self) -> torch.Tensor:
        """What keeps the model as it is on the retain batch, by the setting ``retain_loss``."""
        return self.retain_kl() if self.settings["retain_loss"] == "kl" else self.retain_nll()

    def retain_nll(self) -> torch.Tensor:
        """NLL of the retain batch in nats per target token, with gradient."""
        assert self.retain is not None
        scores = token_scores(predict(self.model, self.retain))
        counts_N = None if self.retain_counts is None else self.retain_counts.targets_N
        return step_mean(-scores.logp_BT, scores.is_target_BT, self.reduction, counts_N)

    def retain_kl(self) -> torch.Tensor:
        """KL(reference || model) on the retain batch in nats per position, by the setting ``kl_positions``."""
        assert self.retain is not None
        current, counts = predict(self.model, self.retain), self.retain_counts
        at_BT, counts_N = current.is_target_BT, None if counts is None else counts.targets_N
        if self.compat is not None:  # padding as well, unless there is no example
            at_BT, counts_N = at_BT.any().expand_as(at_BT), None
        elif self.settings["kl_positions"] == "all":
            at_BT, counts_N = current.is_token_BT, None if counts is None else counts.tokens_N
        return step_mean(kl_divergence(self.predict_base(self.retain), current, at_BT), at_BT, self.reduction, counts_N)
