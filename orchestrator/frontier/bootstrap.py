"""How far a number may owe itself to the seeds that were run: percentile bootstrap intervals over seeds.

Seeds are what is resampled, whole, with all their trials: trials of one seed share their batch order, and under
``search.across: each`` their study, and are no independent observations (Efron & Tibshirani 1993, "An Introduction to
the Bootstrap", chapters 8 and 13).

What the interval cannot say: with few seeds it is much too narrow. Two seeds have three distinct resamples, three have
ten; below about five the interval is hardly more than the range of the seeds, and covers less than its level. It knows
nothing of what the seeds do not vary: the draw of the data, the base model, the reference models.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Group = TypeVar("Group")

RESAMPLES = 1000
LEVEL = 0.95
STREAM = 0
"""Seed of the resampling: the same rows give the same interval."""
ROUNDING = 1e-4
"""Seeds whose numbers differ by no larger share than this do so by rounding, which a long ascent amplifies; by the
order of their batches they differ by hundreds of times as much."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A percentile bootstrap interval over seeds."""

    estimate: float
    low: float
    high: float
    level: float
    seeds: int
    resamples: int


def agree(by_seed: Sequence[npt.NDArray[np.float64]]) -> bool:
    """Tell whether several seeds have the same numbers, in any order, but for rounding.

    Where a batch holds the whole forget set its order is all that a seed changes, and changes only how sums round: such
    seeds are one run, several times. Columns are compared each at its own scale.
    """
    if len(by_seed) < 2:
        return False
    first, *others = [np.sort(np.atleast_1d(own), axis=0) for own in by_seed]
    if not first.size or any(own.shape != first.shape for own in others):
        return False
    scale = np.abs(first).max(axis=0)
    return all(bool((np.abs(own - first) <= ROUNDING * scale).all()) for own in others)


def seed_interval(by_seed: Sequence[Group], statistic: Callable[[Sequence[Group]], float]) -> Interval | None:
    """Resample the seeds with replacement and take the percentiles of the statistic.

    None: fewer than two seeds, which say nothing of the spread; or seeds that agree, which are no replicates.
    """
    if len(by_seed) < 2 or agree([np.asarray(own, dtype=np.float64) for own in by_seed]):
        return None
    count = len(by_seed)
    draws = np.random.default_rng(STREAM).integers(count, size=(RESAMPLES, count))
    distinct, times = np.unique(np.sort(draws, axis=1), axis=0, return_counts=True)
    values = np.repeat([statistic([by_seed[seed] for seed in draw]) for draw in distinct], times)
    low, high = np.quantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(
        estimate=statistic(by_seed),
        low=float(low),
        high=float(high),
        level=LEVEL,
        seeds=count,
        resamples=RESAMPLES,
    )
