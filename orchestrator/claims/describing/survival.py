"""Times until mean exposure is as never trained as survival curves, with those that never are as censored.

They describe: trials of one replicate are not independent, and the test between two curves does not know it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.claims.describing.optional_libraries import optional_library, silenced
from orchestrator.claims.observations import pairs_of
from orchestrator.claims.trajectories import Trajectory


@dataclass(frozen=True, kw_only=True)
class SurvivalCurve:
    """The times of one forget set over all trials, by Kaplan & Meier 1958."""

    forget_set: str
    trials: int
    censored: int
    """Trials that were not as never trained when they ended."""
    median: float | None
    """Steps by which half of the trials are as never trained; None: half never are."""
    median_low: float | None
    median_high: float | None
    """Ends of its 95 % interval; None: beyond the last time."""
    restricted_mean: float
    """Mean steps, none counting as more than ``horizon``."""
    horizon: float
    """The shortest of the longest times that the sets were followed for, steps."""


@dataclass(frozen=True, kw_only=True)
class CurveTest:
    """The log-rank test between an in- and an out-of-distribution set, at equal settings."""

    within: str
    out: str
    p: float


def survival_curves(trajectories: Sequence[Trajectory], measure: str) -> list[SurvivalCurve]:
    """Return a curve for each forget set whose exposure was measured.

    Raises:
        MissingLibraryError: the extra is not installed.
    """
    lifelines, utils = optional_library("lifelines"), optional_library("lifelines.utils")
    groups: dict[str, list[Trajectory]] = {}
    for own in sorted(trajectories, key=lambda one: (one.distribution, one.forget_set)):
        if own.followed_until > 0 and len(own.removed(measure)[0]):
            groups.setdefault(own.forget_set, []).append(own)
    horizon = min((max(own.followed_until for own in group) for group in groups.values()), default=0.0)
    found = []
    for name, group in groups.items():
        times, reached = _times(group, measure)
        with silenced():
            fitted = lifelines.KaplanMeierFitter().fit(times, reached)
            edges = utils.median_survival_times(fitted.confidence_interval_)
        low, high = (float(edge) for edge in edges.iloc[0])
        found.append(
            SurvivalCurve(
                forget_set=name,
                trials=len(group),
                censored=len(group) - sum(reached),
                median=_finite(float(fitted.median_survival_time_)),
                median_low=_finite(low),
                median_high=_finite(high),
                restricted_mean=float(utils.restricted_mean_survival_time(fitted, t=horizon)),
                horizon=horizon,
            )
        )
    return found


def curve_tests(trajectories: Sequence[Trajectory], measure: str) -> list[CurveTest]:
    """Return the log-rank test of each pair of sets that have settings in common.

    Raises:
        MissingLibraryError: the extra is not installed.
    """
    statistics = optional_library("lifelines.statistics")
    groups: dict[tuple[str, str], tuple[list[Trajectory], list[Trajectory]]] = {}
    for pair in pairs_of(trajectories):
        if pair.horizon > 0 and all(len(own.removed(measure)[0]) for own in (pair.within, pair.out)):
            inside, out = groups.setdefault((pair.within.forget_set, pair.out.forget_set), ([], []))
            inside.append(pair.within)
            out.append(pair.out)
    found = []
    for (within, other), (inside, out) in groups.items():
        (times_a, reached_a), (times_b, reached_b) = _times(inside, measure), _times(out, measure)
        with silenced():
            test = statistics.logrank_test(times_a, times_b, reached_a, reached_b)
        found.append(CurveTest(within=within, out=other, p=float(test.p_value)))
    return found


def _times(group: Sequence[Trajectory], measure: str) -> tuple[list[float], list[bool]]:
    """Return how long each trial took or was followed, and whether it got there."""
    times = [(own.time(measure), own.followed_until) for own in group]
    return [float(np.minimum(*pair)) for pair in times], [time <= end for time, end in times]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
