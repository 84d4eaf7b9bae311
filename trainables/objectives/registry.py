"""The objectives by name, how one is added, and how the settings of one are checked. It loads no PyTorch.

In the formulas, NLL is the mean negative log-likelihood of target tokens in nats, of the forget (f) or the retain
batch (r); S(x) is the NLL of an example's target, summed over its tokens, and S_ref that under the base model.
"""

from collections.abc import Mapping

from trainables.config import COMPATS, require_compat, validated_settings
from trainables.deferred import Deferred
from trainables.errors import UnlearningError, nearest_name_hint
from trainables.objectives.objective import Objective, Setting
from trainables.objectives.settings import (
    BoundedAscentSettings,
    CEUSettings,
    KLRetainSettings,
    NPOSettings,
    ObjectiveSettings,
    RetainSettings,
    SatImpSettings,
    SimNPOSettings,
    TaskVectorSettings,
    UndialSettings,
    WGASettings,
)
from trainables.plugins import Registry

_DECIDED_BY_COMPAT = frozenset({"reduction", "kl_positions", "length"})
"""Settings that a project's reductions leave no choice of."""


def _loss(module: str, name: str) -> Deferred:
    return Deferred(f"trainables.objectives.{module}", name)


_SHIPPED: dict[str, Objective] = {
    "gradient_ascent": Objective(
        loss=_loss("ascents", "gradient_ascent"),
        source="Jang et al. 2023, arXiv 2210.01504, eq. 1: L = -NLL_f",
        compats=frozenset(COMPATS),
    ),
    "gradient_difference": Objective(
        loss=_loss("ascents", "gradient_ascent"),
        source="Liu et al. 2022, arXiv 2203.12817; Maini et al. 2024, arXiv 2401.06121: L = -NLL_f + NLL_r",
        settings=RetainSettings,
        needs_retain=True,
        compats=frozenset(COMPATS),
    ),
    "kl_ascent": Objective(
        loss=_loss("ascents", "gradient_ascent"),
        source="'KL minimization' of Maini et al. 2024, arXiv 2401.06121: L = -NLL_f + KL_r(base || model)",
        settings=KLRetainSettings,
        needs_retain=True,
    ),
    "bounded_ascent": Objective(
        loss=_loss("ascents", "bounded_ascent"),
        source=(
            "after the rectified forget term of Trippa et al. 2024, arXiv 2403.14339: L = mean of max(0, bound - nll_t)"
            " over target tokens; a token is pushed until its NLL is at the bound. The bound is given (nats), where the"
            " paper takes the loss of unseen data, and each token has it, where the paper bounds the batch"
        ),
        settings=BoundedAscentSettings,
    ),
    "task_vector": Objective(
        loss=_loss("ascents", "task_vector"),
        source=(
            "negation of Ilharco et al. 2023, arXiv 2212.04089, section 3: fine-tune on the forget set, L = NLL_f; the "
            "model is base - scale * (fine-tuned - base)"
        ),
        settings=TaskVectorSettings,
    ),
    "undial": Objective(
        loss=_loss("distilled", "undial"),
        source=(
            "Dong et al. 2024, arXiv 2402.10052 (self-distillation with adjusted logits): L = mean cross-entropy of "
            "the model against softmax(z_base - beta * [the token to forget])"
        ),
        settings=UndialSettings,
        needs_reference=True,
        compats=frozenset(COMPATS),
    ),
    "ceu": Objective(
        loss=_loss("distilled", "ceu"),
        source=(
            "Yang 2025, arXiv 2503.01224 (CE-U): L = mean cross-entropy of the model against its own softmax without "
            "the token to forget, held constant; the first `ignore_first` target tokens of an example are left alone"
        ),
        settings=CEUSettings,
        compats=frozenset(COMPATS),
    ),
    "npo": Objective(
        loss=_loss("preferences", "npo"),
        source=(
            "Zhang et al. 2024, arXiv 2404.05868, eq. 3: L = mean of -(2 / beta) log sigmoid(beta * (S - S_ref)); "
            "`length: mean` divides S by the tokens of the example"
        ),
        settings=NPOSettings,
        needs_reference=True,
        compats=frozenset(COMPATS),
    ),
    "simnpo": Objective(
        loss=_loss("preferences", "simnpo"),
        source=(
            "Fan et al. 2024, arXiv 2410.07163, eq. 4: L = mean of -(2 / beta) log sigmoid(beta * (S / n - delta)), n "
            "the tokens of the example"
        ),
        settings=SimNPOSettings,
        compats=frozenset(COMPATS),
    ),
    "dpo": Objective(
        loss=_loss("preferences", "dpo"),
        source=(
            "Rafailov et al. 2023, arXiv 2305.18290, as Zhang et al. 2024, arXiv 2404.05868, eq. 2, with the alternate "
            "answer a preferred: L = mean of -(2 / beta) log sigmoid(beta * ((S_f - S_f,ref) - (S_a - S_a,ref)))"
        ),
        settings=NPOSettings,
        needs_reference=True,
        needs_alternate=True,
        compats=frozenset(COMPATS),
    ),
    "wga": Objective(
        loss=_loss("reweighted", "wga"),
        source="Wang et al. 2025, arXiv 2502.19301 (weighted gradient ascent): L = mean of p^beta * log p",
        settings=WGASettings,
        compats=frozenset(COMPATS),
    ),
    "satimp": Objective(
        loss=_loss("reweighted", "satimp"),
        source="Yang et al. 2025, arXiv 2505.11953 (SatImp): L = mean of p^beta1 * (1 - p)^beta2 * log p",
        settings=SatImpSettings,
        compats=frozenset(COMPATS),
    ),
}


OBJECTIVES = Registry("objective", Objective, group="unlearn_sweep.objectives", shipped=_SHIPPED)
"""Every objective: those above, those that plugin files register, and entry points of installed packages."""


def register(name: str, objective: Objective) -> None:
    """Add an objective to the registry.

    Raises:
        UnlearningError: the name is taken.
    """
    OBJECTIVES.register(name, objective)


def check_objective(name: str, given: Mapping[str, Setting], *, compat: str | None = None) -> ObjectiveSettings:
    """Return all settings of an objective, those that are not given at their defaults.

    Args:
        name: of the objective.
        given: its settings by name.
        compat: the project whose reductions it takes, if any.

    Raises:
        UnlearningError: the objective, a setting, a value or the project is unknown, or they do not go together; the
            message names what is allowed.
    """
    if name not in OBJECTIVES:
        raise UnlearningError(
            f"unknown objective '{name}'; {nearest_name_hint(name, OBJECTIVES.names())}; one of your own comes with "
            f"--plugin FILE.py or an installed package"
        )
    objective = OBJECTIVES[name]
    others = {other: entry.settings for other, entry in OBJECTIVES.items()}
    settings = validated_settings(objective.settings, given, owner=f"objective '{name}'", others=others)
    if compat is not None:
        _check_compat(name, given, compat)
    return settings


def _check_compat(name: str, given: Mapping[str, Setting], compat: str) -> None:
    having = {other: entry.compats for other, entry in OBJECTIVES.items()}
    require_compat(compat, name, kind="objective", having=having)
    for setting in sorted(_DECIDED_BY_COMPAT & given.keys()):
        raise UnlearningError(
            f"objective '{name}': compat: {compat} decides '{setting}'; leave '{setting}' out, or leave compat out"
        )
