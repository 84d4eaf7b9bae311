"""What two forget sets that are compared differed in before unlearning: an effect may be of that."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.claims.examples import TrialExamples
from orchestrator.claims.observations import BETWEEN, pairs_of
from orchestrator.claims.trajectories import Replicate, Trajectory
from orchestrator.frontier import are_matched

MEASURE_NAMES = {"gen_ex": "GenEx", "rel_ex": "RelEx"}


@dataclass(frozen=True, kw_only=True)
class Matching:
    """One quantity of two forget sets before unlearning, means over replicates."""

    sets: str
    quantity: str
    unit: str
    within: float
    out: float
    ratios: tuple[float, float] | None
    """The smallest and the largest ratio, out by in, of single replicates; None: there is one, or it is not known."""
    tolerance: float
    """Share of the smaller by which the larger may exceed it."""

    @property
    def matched(self) -> bool:
        """Whether the means are alike."""
        return are_matched((self.within, self.out), self.tolerance)

    def __str__(self) -> str:
        text = f"{self.quantity} {self.within:.3g} against {self.out:.3g} {self.unit}"
        if self.ratios is None:
            return text
        return f"{text} (in single replicates {self.ratios[0]:.2f} to {self.ratios[1]:.2f} times)"


def matchings(
    trajectories: Sequence[Trajectory], examples: Sequence[TrialExamples], measure: str, *, tolerance: float
) -> list[Matching]:
    """Return exposure, length and number of tokens of every two sets that are compared, from the base model's rows."""
    sets = sorted({(pair.within.forget_set, pair.out.forget_set) for pair in pairs_of(trajectories)})
    return [
        own
        for within, out in sets
        for own in _of_sets(within, out, trajectories, examples, measure=measure, tolerance=tolerance)
    ]


def _of_sets(
    within: str,
    out: str,
    trajectories: Sequence[Trajectory],
    examples: Sequence[TrialExamples],
    *,
    measure: str,
    tolerance: float,
) -> Iterator[Matching]:
    both = (within, out)
    quantities = [
        (f"mean {MEASURE_NAMES[measure]}", "bits", [_exposure(name, trajectories, measure) for name in both]),
        ("length", "tokens", [_tokens(name, examples, "mean") for name in both]),
        ("whole set", "tokens", [_tokens(name, examples, "sum") for name in both]),
    ]
    for quantity, unit, (inside, outside) in quantities:
        if inside and outside:
            ratios = sorted(outside[own] / inside[own] for own in inside.keys() & outside.keys() if inside[own] > 0)
            yield Matching(
                sets=f"{within}{BETWEEN}{out}",
                quantity=quantity,
                unit=unit,
                within=float(np.mean(sorted(inside.values()))),
                out=float(np.mean(sorted(outside.values()))),
                ratios=(ratios[0], ratios[-1]) if len(ratios) > 1 else None,
                tolerance=tolerance,
            )


def _exposure(name: str, trajectories: Sequence[Trajectory], measure: str) -> dict[Replicate, float]:
    """Return the exposure of a set before unlearning by replicate, where it is known."""
    values = {own.replicate: float(own.exposures[measure][0]) for own in trajectories if own.forget_set == name}
    return {replicate: value for replicate, value in values.items() if np.isfinite(value)}


def _tokens(name: str, examples: Sequence[TrialExamples], how: str) -> dict[Replicate, float]:
    """Return the tokens of an example, or of the whole set, by replicate."""
    values = {own.trajectory.replicate: own.tokens_N for own in examples if own.trajectory.forget_set == name}
    return {name: float(tokens_N.sum() if how == "sum" else tokens_N.mean()) for name, tokens_N in values.items()}
