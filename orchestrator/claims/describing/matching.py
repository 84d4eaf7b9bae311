"""What two forget sets that are compared differed in before unlearning: an effect may be of that."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.claims.examples import TrialExamples
from orchestrator.claims.observations import BETWEEN, pairs_of
from orchestrator.claims.trajectories import Trajectory

TOLERANCE = 1.1
"""Ratio of two numbers up to which they count as matched, as in ``frontier``."""
MEASURE_NAMES = {"gen_ex": "GenEx", "rel_ex": "RelEx"}


@dataclass(frozen=True, kw_only=True)
class Matching:
    """One quantity of two forget sets before unlearning, means over replicates."""

    sets: str
    quantity: str
    unit: str
    within: float
    out: float

    @property
    def matched(self) -> bool:
        """Whether the larger is at most ``TOLERANCE`` times the smaller."""
        low, high = sorted((self.within, self.out))
        return 0 < high <= TOLERANCE * low

    def __str__(self) -> str:
        return f"{self.quantity} {self.within:.3g} against {self.out:.3g} {self.unit}"


def matchings(trajectories: Sequence[Trajectory], examples: Sequence[TrialExamples], measure: str) -> list[Matching]:
    """Return exposure, length and number of tokens of every two sets that are compared, from the base model's rows."""
    sets = sorted({(pair.within.forget_set, pair.out.forget_set) for pair in pairs_of(trajectories)})
    return [own for within, out in sets for own in _of_sets(within, out, trajectories, examples, measure)]


def _of_sets(
    within: str, out: str, trajectories: Sequence[Trajectory], examples: Sequence[TrialExamples], measure: str
) -> Iterator[Matching]:
    both = (within, out)
    quantities = [
        (f"mean {MEASURE_NAMES[measure]}", "bits", [_exposure(name, trajectories, measure) for name in both]),
        ("length", "tokens", [_tokens(name, examples, "mean") for name in both]),
        ("whole set", "tokens", [_tokens(name, examples, "sum") for name in both]),
    ]
    for quantity, unit, (inside, outside) in quantities:
        if inside is not None and outside is not None:
            yield Matching(sets=f"{within}{BETWEEN}{out}", quantity=quantity, unit=unit, within=inside, out=outside)


def _exposure(name: str, trajectories: Sequence[Trajectory], measure: str) -> float | None:
    values = {own.replicate: float(own.exposures[measure][0]) for own in trajectories if own.forget_set == name}
    known = [value for value in values.values() if np.isfinite(value)]
    return float(np.mean(sorted(known))) if known else None


def _tokens(name: str, examples: Sequence[TrialExamples], how: str) -> float | None:
    values = {own.trajectory.replicate: own.tokens_N for own in examples if own.trajectory.forget_set == name}
    known = [float(tokens_N.sum() if how == "sum" else tokens_N.mean()) for tokens_N in values.values()]
    return float(np.mean(sorted(known))) if known else None
