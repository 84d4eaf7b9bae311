"""Objectives that teach the model a distribution that is led away from the tokens to forget."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from trainables.likelihood import soft_nll
from trainables.objectives.inputs import ObjectiveInputs
from trainables.objectives.registry import COMPATS, RETAINING, Objective, register


def _undial(inputs: ObjectiveInputs, settings: Mapping[str, Any]) -> torch.Tensor:
    current = inputs.predict_forget()
    at_BT = current.is_target_BT
    if inputs.compat is not None:  # it distils prompts and padding too, where it lowers the vocabulary's entry -100
        at_BT = current.has_label_BT & at_BT.any()
    nll_BT = soft_nll(current, inputs.recall(inputs.forget), -settings["beta"], at_BT)
    return inputs.forget_mean(nll_BT, at_BT)


def _ceu(inputs: ObjectiveInputs, settings: Mapping[str, Any]) -> torch.Tensor:
    current = inputs.predict_forget()
    ignored = int(settings["ignore_first"])
    seen_BT = current.is_target_BT.cumsum(dim=-1)
    if inputs.compat is not None:  # it counts a target that nothing predicts as well
        seen_BT = seen_BT + current.num_unpredicted_B.unsqueeze(-1)
    at_BT = current.is_target_BT & (seen_BT > ignored)
    return inputs.forget_mean(soft_nll(current, current, -math.inf, at_BT), at_BT, ignored=ignored)


register(
    "undial",
    Objective(
        loss=_undial,
        source=(
            "Dong et al. 2024, arXiv 2402.10052 (self-distillation with adjusted logits): L = mean cross-entropy of "
            "the model against softmax(z_base - beta * [the token to forget])"
        ),
        weights={"beta": 10.0, **RETAINING, "retain_weight": 0.0},
        needs_reference=True,
        compats=frozenset(COMPATS),
    ),
)
register(
    "ceu",
    Objective(
        loss=_ceu,
        source=(
            "Yang 2025, arXiv 2503.01224 (CE-U): L = mean cross-entropy of the model against its own softmax without "
            "the token to forget, held constant; the first `ignore_first` target tokens of an example are left alone"
        ),
        weights={"ignore_first": 1.0, **RETAINING, "retain_weight": 0.0},
        whole=frozenset({"ignore_first"}),
        compats=frozenset(COMPATS),
    ),
)
