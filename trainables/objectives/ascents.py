"""Objectives that raise the loss of the forget set as it is, and the baseline that lowers it to turn it round.

NLL is the mean negative log-likelihood of target tokens in nats, of the forget (f) or the retain batch (r).
"""

from collections.abc import Mapping
from typing import Any

import torch

from trainables.likelihood import token_scores
from trainables.objectives.inputs import ObjectiveInputs
from trainables.objectives.registry import AVERAGED, COMPATS, RETAINING, Objective, register


def _gradient_ascent(inputs: ObjectiveInputs, _: Mapping[str, Any]) -> torch.Tensor:
    return -inputs.forget_nll()


def _bounded_ascent(inputs: ObjectiveInputs, settings: Mapping[str, Any]) -> torch.Tensor:
    scores = token_scores(inputs.predict_forget())
    left_BT = torch.where(scores.is_target_BT, settings["bound"] + scores.logp_BT, 0)
    return inputs.forget_mean(left_BT.clamp(min=0), scores.is_target_BT)


def _task_vector(inputs: ObjectiveInputs, _: Mapping[str, Any]) -> torch.Tensor:
    return inputs.forget_nll()


register(
    "gradient_ascent",
    Objective(
        loss=_gradient_ascent,
        source="Jang et al. 2023, arXiv 2210.01504, eq. 1: L = -NLL_f",
        weights=AVERAGED,
        compats=frozenset(COMPATS),
    ),
)
register(
    "gradient_difference",
    Objective(
        loss=_gradient_ascent,
        source="Liu et al. 2022, arXiv 2203.12817; Maini et al. 2024, arXiv 2401.06121: L = -NLL_f + NLL_r",
        weights=RETAINING,
        needs_retain=True,
        compats=frozenset(COMPATS),
    ),
)
register(
    "kl_ascent",
    Objective(
        loss=_gradient_ascent,
        source="'KL minimization' of Maini et al. 2024, arXiv 2401.06121: L = -NLL_f + KL_r(base || model)",
        weights={name: value for name, value in RETAINING.items() if name != "retain_loss"},
        fixed={"retain_loss": "kl"},
        needs_retain=True,
    ),
)
register(
    "bounded_ascent",
    Objective(
        loss=_bounded_ascent,
        source=(
            "after the rectified forget term of Trippa et al. 2024, arXiv 2403.14339: L = mean of max(0, bound - nll_t)"
            " over target tokens; a token is pushed until its NLL is at the bound. The bound is given (nats), where the"
            " paper takes the loss of unseen data, and each token has it, where the paper bounds the batch"
        ),
        weights={"bound": 5.0, **AVERAGED},
        positive=frozenset({"bound"}),
    ),
)
register(
    "task_vector",
    Objective(
        loss=_task_vector,
        source=(
            "negation of Ilharco et al. 2023, arXiv 2212.04089, section 3: fine-tune on the forget set, L = NLL_f; the "
            "model is base - scale * (fine-tuned - base)"
        ),
        weights={"scale": 1.0, **AVERAGED},
        negates=True,
    ),
)
