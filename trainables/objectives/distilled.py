"""Objectives that teach the model a distribution that is led away from the tokens to forget."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from trainables.metrics import soft_nll
from trainables.objectives.inputs import ObjectiveInputs


def undial(inputs: ObjectiveInputs, settings: Mapping[str, Any]) -> torch.Tensor:
    """Return the mean cross-entropy of the model against softmax(z_base - beta * [the token to forget])."""
    current = inputs.predict_forget()
    at_BT = current.is_target_BT
    if inputs.compat is not None:  # it distils prompts and padding too, where it lowers the vocabulary's entry -100
        at_BT = current.has_label_BT & at_BT.any()
    nll_BT = soft_nll(current, inputs.predict_base(inputs.forget), -settings["beta"], at_BT)
    return inputs.forget_mean(nll_BT, at_BT)


def ceu(inputs: ObjectiveInputs, settings: Mapping[str, Any]) -> torch.Tensor:
    """Return the mean cross-entropy of the model against its own softmax without the token to forget, held constant."""
    current = inputs.predict_forget()
    ignored = int(settings["ignore_first"])
    seen_BT = current.is_target_BT.cumsum(dim=-1)
    if inputs.compat is not None:  # it counts a target that nothing predicts as well
        seen_BT = seen_BT + current.num_unpredicted_B.unsqueeze(-1)
    at_BT = current.is_target_BT & (seen_BT > ignored)
    return inputs.forget_mean(soft_nll(current, current, -math.inf, at_BT), at_BT, ignored=ignored)
