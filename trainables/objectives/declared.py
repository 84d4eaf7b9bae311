"""The objectives that come with this package: name, settings with defaults, needs, source, and what computes each.

NLL is the mean negative log-likelihood of target tokens in nats, of the forget (f) or the retain batch (r); S(x) the
NLL of an example's target, summed over its tokens, and S_ref that of the base model.
"""

from trainables.deferred import Deferred
from trainables.objectives.registry import AVERAGED, COMPATS, RETAINING, Objective, register


def _loss(module: str, name: str) -> Deferred:
    return Deferred(f"trainables.objectives.{module}", name)


register(
    "gradient_ascent",
    Objective(
        loss=_loss("ascents", "gradient_ascent"),
        source="Jang et al. 2023, arXiv 2210.01504, eq. 1: L = -NLL_f",
        weights=AVERAGED,
        compats=frozenset(COMPATS),
    ),
)
register(
    "gradient_difference",
    Objective(
        loss=_loss("ascents", "gradient_ascent"),
        source="Liu et al. 2022, arXiv 2203.12817; Maini et al. 2024, arXiv 2401.06121: L = -NLL_f + NLL_r",
        weights=RETAINING,
        needs_retain=True,
        compats=frozenset(COMPATS),
    ),
)
register(
    "kl_ascent",
    Objective(
        loss=_loss("ascents", "gradient_ascent"),
        source="'KL minimization' of Maini et al. 2024, arXiv 2401.06121: L = -NLL_f + KL_r(base || model)",
        weights={name: value for name, value in RETAINING.items() if name != "retain_loss"},
        fixed={"retain_loss": "kl"},
        needs_retain=True,
    ),
)
register(
    "bounded_ascent",
    Objective(
        loss=_loss("ascents", "bounded_ascent"),
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
        loss=_loss("ascents", "task_vector"),
        source=(
            "negation of Ilharco et al. 2023, arXiv 2212.04089, section 3: fine-tune on the forget set, L = NLL_f; the "
            "model is base - scale * (fine-tuned - base)"
        ),
        weights={"scale": 1.0, **AVERAGED},
        negates=True,
    ),
)
register(
    "undial",
    Objective(
        loss=_loss("distilled", "undial"),
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
        loss=_loss("distilled", "ceu"),
        source=(
            "Yang 2025, arXiv 2503.01224 (CE-U): L = mean cross-entropy of the model against its own softmax without "
            "the token to forget, held constant; the first `ignore_first` target tokens of an example are left alone"
        ),
        weights={"ignore_first": 1.0, **RETAINING, "retain_weight": 0.0},
        full_tensor=frozenset({"ignore_first"}),
        compats=frozenset(COMPATS),
    ),
)
register(
    "npo",
    Objective(
        loss=_loss("preferences", "npo"),
        source=(
            "Zhang et al. 2024, arXiv 2404.05868, eq. 3: L = mean of -(2 / beta) log sigmoid(beta * (S - S_ref)); "
            "`length: mean` divides S by the tokens of the example"
        ),
        weights={"beta": 0.1, "length": "sum", **RETAINING},
        positive=frozenset({"beta"}),
        needs_reference=True,
        compats=frozenset(COMPATS),
    ),
)
register(
    "simnpo",
    Objective(
        loss=_loss("preferences", "simnpo"),
        source=(
            "Fan et al. 2024, arXiv 2410.07163, eq. 4: L = mean of -(2 / beta) log sigmoid(beta * (S / n - delta)), n "
            "the tokens of the example"
        ),
        weights={"beta": 4.5, "delta": 0.0, **RETAINING},
        positive=frozenset({"beta"}),
        compats=frozenset(COMPATS),
    ),
)
register(
    "dpo",
    Objective(
        loss=_loss("preferences", "dpo"),
        source=(
            "Rafailov et al. 2023, arXiv 2305.18290, as Zhang et al. 2024, arXiv 2404.05868, eq. 2, with the alternate "
            "answer a preferred: L = mean of -(2 / beta) log sigmoid(beta * ((S_f - S_f,ref) - (S_a - S_a,ref)))"
        ),
        weights={"beta": 0.1, "length": "sum", **RETAINING},
        positive=frozenset({"beta"}),
        needs_reference=True,
        needs_alternate=True,
        compats=frozenset(COMPATS),
    ),
)
register(
    "wga",
    Objective(
        loss=_loss("reweighted", "wga"),
        source="Wang et al. 2025, arXiv 2502.19301 (weighted gradient ascent): L = mean of p^beta * log p",
        weights={"beta": 1.0, **RETAINING},
        compats=frozenset(COMPATS),
    ),
)
register(
    "satimp",
    Objective(
        loss=_loss("reweighted", "satimp"),
        source="Yang et al. 2025, arXiv 2505.11953 (SatImp): L = mean of p^beta1 * (1 - p)^beta2 * log p",
        weights={"beta1": 5.0, "beta2": 1.0, **RETAINING},
        compats=frozenset(COMPATS),
    ),
)
