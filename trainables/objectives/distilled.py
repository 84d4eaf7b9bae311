"""Objectives that distil a teacher whose distribution is led away from the tokens to forget.

Papers are in ``registry``. Every loss is a scalar with gradient, nats per token. Shape legend: B batch, T tokens.
"""

import math

import torch

from trainables.metrics import soft_nll
from trainables.objectives.inputs import ObjectiveInputs
from trainables.objectives.settings import CEUSettings, UndialSettings


def undial(inputs: ObjectiveInputs, settings: UndialSettings) -> torch.Tensor:
    """Return the mean cross-entropy of the model against softmax(z_base - beta * [the token to forget])."""
    current = inputs.predict_forget()
    at_BT = current.is_target_BT
    if (
        inputs.compat is not None
    ):  # open-unlearning distils prompts and padding too, where it lowers the logit at index -100
        at_BT = current.has_label_BT & at_BT.any()
    nll_BT = soft_nll(current, inputs.predict_base(inputs.forget), -settings.beta, at_BT)
    return inputs.forget_mean(nll_BT, at_BT)


def ceu(inputs: ObjectiveInputs, settings: CEUSettings) -> torch.Tensor:
    """Return the mean cross-entropy of the model against its own softmax without the token to forget.

    That softmax is held constant; the first ``ignore_first`` targets of each example are left out.
    """
    current = inputs.predict_forget()
    ignored = settings.ignore_first
    seen_BT = current.is_target_BT.cumsum(dim=-1)
    if inputs.compat is not None:  # open-unlearning also counts a target that nothing predicts
        seen_BT = seen_BT + current.num_unpredicted_B.unsqueeze(-1)
    at_BT = current.is_target_BT & (seen_BT > ignored)
    return inputs.forget_mean(soft_nll(current, current, -math.inf, at_BT), at_BT, ignored=ignored)
