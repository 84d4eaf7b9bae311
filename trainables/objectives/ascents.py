"""Objectives that raise the loss of the forget set as it is, and the task vector, which lowers it and is then negated.

Papers and equations are in ``registry``. NLL is the mean negative log-likelihood of target tokens in nats, of the
forget (f) or the retain batch (r). Every loss is a scalar with gradient. Shape legend: B batch, T tokens.
"""

import torch

from trainables.metrics import token_scores
from trainables.objectives.inputs import ObjectiveInputs
from trainables.objectives.settings import BoundedAscentSettings, ObjectiveSettings


def gradient_ascent(inputs: ObjectiveInputs, _: ObjectiveSettings) -> torch.Tensor:
    """Return -NLL_f."""
    return -inputs.forget_nll()


def bounded_ascent(inputs: ObjectiveInputs, settings: BoundedAscentSettings) -> torch.Tensor:
    """Return the mean over forget targets of max(0, bound - nll_t), nats per token."""
    scores = token_scores(inputs.predict_forget())
    left_BT = torch.where(scores.is_target_BT, settings.bound + scores.logp_BT, 0)
    return inputs.forget_mean(left_BT.clamp(min=0), scores.is_target_BT)


def task_vector(inputs: ObjectiveInputs, _: ObjectiveSettings) -> torch.Tensor:
    """Return NLL_f: the model is fine-tuned on the forget set, and the change is subtracted from the base model."""
    return inputs.forget_nll()
