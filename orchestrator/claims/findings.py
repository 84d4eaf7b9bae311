"""The findings of the paper as hypotheses, with what is measured of each: fixed here, before any sweep is looked at.

Source of the sentences: Baluta et al. 2024, "Unlearning in- vs. out-of-distribution data in LLMs under gradient-based
method" (arXiv 2411.04388), abstract.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Direction = Literal["above", "either"]

COST_KINDS = {
    "heldout": "held-out data of the training distribution",
    "never_trained": "never-trained data of the forget set's own kind",
    "retained": "retained data of the forget set's own kind",
}
"""Kinds of data that the cost of unlearning is measured on, for readers. Retained data of the kind of an
in-distribution set is the retain set."""
KIND_NAMES = {"heldout": "held-out", "never_trained": "never seen", "retained": "retained"}
"""Their names in tables."""

_STEPS = "unlearning out-of-distribution examples requires more unlearning steps"
_TRADE = "but overall presents a better trade-off"
_DECAY = "for in-distribution examples, we observe a rapid decay in performance as unlearning progresses"
_EXAMPLES = "how an example's memorization and difficulty affect unlearning"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One hypothesis and its estimand."""

    name: str
    letter: str
    """Of the paper's four findings: a, b, c or d."""
    sentence: str
    """The paper's words."""
    claim: str
    """The hypothesis for readers, in a few words."""
    estimand: str
    """What is computed in each replicate."""
    unit: str
    kind: str | None = None
    """One of ``COST_KINDS``; None: the estimand is of no cost."""
    direction: Direction = "above"
    """``above``: an effect above the null supports the finding, and one below contradicts it. ``either``: an effect on
    either side supports it, and none contradicts it."""
    is_ratio: bool = False
    """Whether the effect is a ratio: averaged as a logarithm, shown as a factor, with 1 as its null."""
    is_median: bool = False
    """Whether a replicate's number is the median over its settings in place of the mean: of slopes, which the settings
    that collapse at once would dominate."""
    needs_pair: bool = True
    """Whether it compares an in- with an out-of-distribution set."""
    by_exposure: bool = True
    """Whether it depends on how exposure is measured."""
    in_conditions: bool = True
    """Whether it is judged under each condition, too."""

    @property
    def null(self) -> float:
        """The effect if there is nothing to find, as shown."""
        return 1.0 if self.is_ratio else 0.0

    def shown(self, value: float) -> float:
        """Return an effect as it is shown: of a ratio, the factor of its base-2 logarithm."""
        return float(2.0**value) if self.is_ratio else value


def _prices() -> Sequence[Finding]:
    return [
        Finding(
            name=f"price_{kind}",
            letter="b",
            sentence=_TRADE,
            claim=f"out loses less: {KIND_NAMES[kind]}",
            estimand=(
                f"loss on {words} where mean exposure is first as never trained, in-distribution minus "
                f"out-of-distribution, at the same settings; where one of the two never gets there, at the largest "
                f"share of the exposure that both remove"
            ),
            unit="nats/token",
            kind=kind,
        )
        for kind, words in COST_KINDS.items()
    ]


def _areas() -> Sequence[Finding]:
    return [
        Finding(
            name=f"area_{kind}",
            letter="b",
            sentence=_TRADE,
            claim=f"out's curve is lower: {KIND_NAMES[kind]}",
            estimand=(
                f"area between the trade-off curves (loss on {words} against the share of the exposure that is "
                f"removed), in-distribution minus out-of-distribution, from none to the largest share that both "
                f"remove, divided by that share; at the same settings"
            ),
            unit="nats/token",
            kind=kind,
            in_conditions=False,
        )
        for kind, words in COST_KINDS.items()
    ]


FINDINGS: Sequence[Finding] = (
    Finding(
        name="steps",
        letter="a",
        sentence=_STEPS,
        claim="out needs more steps",
        estimand=(
            "steps until mean exposure is first as never trained, out-of-distribution divided by in-distribution, at "
            "the same settings; a time beyond the axis counts as the end of the axis, one below a step as one step"
        ),
        unit="times",
        is_ratio=True,
    ),
    *_prices(),
    *_areas(),
    Finding(
        name="decay",
        letter="c",
        sentence=_DECAY,
        claim="in loses with steps",
        estimand=(
            "least-squares slope of held-out loss against steps of in-distribution sets, the median over settings; "
            "beyond the performance floor a loss counts as the floor"
        ),
        unit="nats/token a step",
        kind="heldout",
        is_median=True,
        needs_pair=False,
        by_exposure=False,
        in_conditions=False,
    ),
    Finding(
        name="decay_faster",
        letter="c",
        sentence=_DECAY,
        claim="in loses faster than out",
        estimand=(
            "least-squares slope of held-out loss against steps, in-distribution minus out-of-distribution, divided by "
            "the sum of their sizes, at the same settings, over the steps at which both were measured"
        ),
        unit="of the sum",
        kind="heldout",
        by_exposure=False,
    ),
    Finding(
        name="memorization",
        letter="d",
        sentence=_EXAMPLES,
        claim="memorized takes longer",
        estimand=(
            "rank correlation of the steps until an example is first as never trained with its memorization, within "
            "one forget set and setting"
        ),
        unit="rank corr.",
        needs_pair=False,
    ),
    Finding(
        name="difficulty",
        letter="d",
        sentence=_EXAMPLES,
        claim="difficulty matters",
        estimand=(
            "rank correlation of the steps until an example is first as never trained with its difficulty, within one "
            "forget set and setting"
        ),
        unit="rank corr.",
        direction="either",
        needs_pair=False,
    ),
)
"""Every finding, in the order of the paper."""
