"""Choosing how often forget sets are repeated in base training, so that they are equally exposed. It trains nothing.

What a model has memorized of a set rises with its repetitions, and everything else of the sets stays as it is. So each
set's repetitions are bracketed by those that gave too little and too much, as in a search by regula falsi. They are
whole numbers, or in quarters between two: then some of the examples are repeated once more than the others.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.frontier import are_matched

PARTS = 4
"""Parts of a repetition."""
MOST = 64
"""Repetitions that are tried, at most."""
_FASTEST = 4.0
"""Factor by which repetitions grow from one round to the next, at most."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """What a base model has memorized that saw each set this often."""

    quarters: Mapping[str, int]
    """Repetitions of each set, in quarters."""
    levels: Mapping[str, float]
    """What is matched, of each set: the mean over replicates."""
    to: str
    """The set that the others are matched to."""

    def ratio(self, name: str) -> float:
        """Return a set's level in units of that of ``to``."""
        return self.levels[name] / self.levels[self.to]

    @property
    def worst(self) -> float:
        """The largest difference of two sets, as a share of the smaller; infinite where one has memorized nothing."""
        low, high = min(self.levels.values()), max(self.levels.values())
        return high / low - 1 if low > 0 else math.inf


class RepetitionSearch:
    """Proposes repetitions for every set, one round after another."""

    def __init__(self, start: Mapping[str, int], *, to: str | None, tolerance: float, rounds: int) -> None:
        """Begin.

        Args:
            start: repetitions of each set.
            to: the set whose repetitions stay; None: the one with the largest level in the first round.
            tolerance: share of the smallest level by which the largest may exceed it.
            rounds: rounds, at most.
        """
        self._start = {name: repetitions * PARTS for name, repetitions in start.items()}
        self._to = to
        self._tolerance = tolerance
        self._left = rounds
        self._rounds: list[Round] = []

    def propose(self) -> Mapping[str, int] | None:
        """Return the repetitions to try next, in quarters; None: nothing is left to try."""
        if not self._rounds:
            return self._start
        last = self._rounds[-1]
        if are_matched(self.best.levels.values(), self._tolerance) or not self._left or last.levels[last.to] <= 0:
            return None
        proposed = {name: last.quarters[name] if name == last.to else self._next(name) for name in last.quarters}
        return None if any(proposed == before.quarters for before in self._rounds) else proposed

    def add(self, levels: Mapping[str, float]) -> Round:
        """Add what the base models have memorized that saw the sets as often as ``propose`` said."""
        quarters = self.propose()
        assert quarters is not None
        self._to = self._to or max(levels, key=levels.__getitem__)
        self._rounds.append(Round(quarters=quarters, levels=dict(levels), to=self._to))
        self._left -= 1
        return self._rounds[-1]

    @property
    def best(self) -> Round:
        """The round that came nearest."""
        comparable = [one for one in self._rounds if one.levels[one.to] > 0]
        return min(comparable, key=lambda one: one.worst) if comparable else self._rounds[-1]

    def _next(self, name: str) -> int:
        """Return the quarters of a set to try next; those of the last round where they do, or no others are left."""
        tried = {one.quarters[name]: one.ratio(name) for one in self._rounds}
        last = self._rounds[-1].quarters[name]
        if abs(tried[last] - 1) <= self._tolerance / 2:  # then any two sets are alike
            return last
        low = max((quarters for quarters, ratio in tried.items() if ratio < 1), default=None)
        high = min((q for q, ratio in tried.items() if ratio >= 1 and (low is None or q > low)), default=None)
        if low is None:
            assert high is not None
            return max(PARTS, min(high - 1, round(high / tried[high])))
        if high is None:
            return min(MOST * PARTS, max(low + 1, round(_grown(sorted(tried.items())))))
        between = low + (1 - tried[low]) / (tried[high] - tried[low]) * (high - low)
        if high - low > 1:
            return max(low + 1, min(high - 1, round(between)))
        return min((low, high), key=lambda quarters: abs(tried[quarters] - 1))


def _grown(tried: Sequence[tuple[int, float]]) -> float:
    """Return where the level would be reached on the line through the last two tries, or through the origin."""
    (before, level), (low, ratio) = ((0, 0.0), *tried)[-2:]
    slope = (ratio - level) / (low - before)
    return low + (1 - ratio) / max(slope, (1 - ratio) / (low * (_FASTEST - 1)))


def groups(quarters: int, size: int) -> tuple[int, ...]:
    """Return repetitions as a spec gives them: one number for all examples, or one for each of equal groups.

    Args:
        quarters: mean repetitions, in quarters.
        size: number of examples; of fewer than ``PARTS``, the mean is only approached.
    """
    parts = min(PARTS, size)
    whole, rest = divmod(quarters, PARTS)
    more = round(rest * parts / PARTS)
    return (whole,) * (parts - more) + (whole + 1,) * more if 0 < more < parts else (whole + (more > 0),)


def listed(repetitions: Mapping[str, Sequence[int]]) -> str:
    """Return the repetitions of every set for readers."""
    return ", ".join(f"{name} {_shown(own)}" for name, own in repetitions.items())


def described(best: Round, repetitions: Mapping[str, Sequence[int]], *, by: str, tolerance: float) -> str:
    """Return how well the sets match, for readers: every set with its level and repetitions, and those that do not."""
    sets = ", ".join(
        f"{name} {level:.3g} (repetitions {_shown(repetitions[name])})" for name, level in best.levels.items()
    )
    found = f"{by} of the forget sets before unlearning: {sets}"
    if best.levels[best.to] <= 0:
        return f"{found}: NOT matched, since the base model has memorized nothing of {best.to}; raise its repetitions"
    if are_matched(best.levels.values(), tolerance):
        return f"{found}: matched within {tolerance:.0%}"
    return (
        f"{found}: NOT matched within {tolerance:.0%}; compare their prices with care, raise data.match.tolerance or "
        f"data.match.rounds, or match to a set that has memorized more (data.match.to)"
    )


def _shown(repetitions: Sequence[int]) -> int | list[int]:
    return repetitions[0] if len(repetitions) == 1 else list(repetitions)
