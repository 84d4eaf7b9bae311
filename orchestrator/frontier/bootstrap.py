"""Percentile bootstrap intervals over seeds, or over replicates: how much a number depends on those that were run.

Whole seeds are resampled, with all their trials: trials of one seed share their batch order, and under ``search.across:
each`` their study, so they are not independent observations. Where a sweep has replicates, whole replicates are, with
all their seeds: the trials of one share their data and models (Efron & Tibshirani 1993, "An Introduction to the
Bootstrap", chapters 8 and 13).

With few seeds the interval is much too narrow. Two seeds have three distinct resamples, three have ten; below about
five the interval is hardly more than the range of the seeds, and covers less than its level. It does not include what
seeds do not vary, and replicates do: the draw of the data, the base model, the reference models.
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
"""Seed of the resampling, fixed so that the same rows give the same interval."""
ROUNDING = 1e-4
"""Largest relative difference of seeds that is attributed to rounding, which a long ascent amplifies. The order of
batches makes differences that are hundreds of times larger."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A percentile bootstrap interval over seeds, or over replicates."""

    estimate: float
    low: float
    high: float
    level: float
    seeds: int
    """Number of seeds, or of replicates."""
    resamples: int
    over: str = "seeds"
    """What was resampled: ``seeds`` or ``replicates``."""


def agree(by_seed: Sequence[npt.NDArray[np.float64]]) -> bool:
    """Return whether several seeds have the same numbers, in any order, but for rounding.

    If a batch holds the whole forget set, a seed changes nothing but the order inside it, and so only how sums round:
    such seeds are one run repeated. Each column is compared at its own scale.
    """
    if len(by_seed) < 2:
        return False
    first, *others = [np.sort(np.atleast_1d(own), axis=0) for own in by_seed]
    if not first.size or any(own.shape != first.shape for own in others):
        return False
    scale = np.abs(first).max(axis=0)
    return all(bool((np.abs(own - first) <= ROUNDING * scale).all()) for own in others)


def seed_interval(
    by_seed: Sequence[Group], statistic: Callable[[Sequence[Group]], float], *, over: str = "seeds"
) -> Interval | None:
    """Return the percentile interval of a statistic over resampled seeds, or replicates (``over``).

    None: there are fewer than two seeds, which show no spread; or the seeds agree, and are not replicates.
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
        over=over,
    )


def resampled(replicates: Sequence[int]) -> str:
    """Return what is resampled of trials, given the replicate of each: ``replicates`` if there are several."""
    return "replicates" if len(set(replicates)) > 1 else "seeds"
