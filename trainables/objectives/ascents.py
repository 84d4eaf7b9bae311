"""Objectives that raise the loss of the forget set as it is, and the baseline that lowers it to turn it round.

NLL is the mean negative log-likelihood of target tokens in nats, of the forget (f) or the retain batch (r).
"""

from collections.abc import Mapping
from typing import Any

import torch

from trainables.metrics import token_scores
from trainables.objectives.inputs import ObjectiveInputs


def gradient_ascent(inputs: ObjectiveInputs, _: Mapping[str, Any]) -> torch.Tensor:
    """Return -NLL_f."""
    return -inputs.forget_nll()


def bounded_ascent(inputs: ObjectiveInputs, settings: Mapping[str, Any]) -> torch.Tensor:
    """Return the mean over forget targets of max(0, bound - nll_t)."""
    scores = token_scores(inputs.predict_forget())
    left_BT = torch.where(scores.is_target_BT, settings["bound"] + scores.logp_BT, 0)
    return inputs.forget_mean(left_BT.clamp(min=0), scores.is_target_BT)


def task_vector(inputs: ObjectiveInputs, _: Mapping[str, Any]) -> torch.Tensor:
    """Return NLL_f: the model is fine-tuned on what it is to forget, and subtracted."""
    return inputs.forget_nll()
