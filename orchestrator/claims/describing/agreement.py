"""GenEx, which needs reference models, and RelEx, which needs none, side by side: how good a stand-in the second is.

Shapes: N examples, S evaluated steps.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.claims.examples import TrialExamples, rank_correlation
from orchestrator.claims.intervals import Estimate, estimate
from orchestrator.claims.trajectories import Replicate, Trajectory
from orchestrator.frontier import UNEXPOSED
from orchestrator.pareto import Numbers

GENERALIZED, RELATIVE = "gen_ex", "rel_ex"
QUANTITIES: Mapping[str, str] = {
    "before": "examples ranked alike before unlearning",
    "after": "examples ranked alike where mean GenEx is as never trained",
    "settings": "settings ranked alike, by steps until as never trained",
    "only_gen_ex": "share of examples as never trained by GenEx only, there",
    "only_gen_ex_memorized": "the same, of the third that is memorized most",
    "only_rel_ex": "share of examples as never trained by RelEx only, there",
    "only_rel_ex_memorized": "the same, of the third that is memorized most",
}
"""What is compared, for readers: rank correlations, and shares of examples on which the two part."""
LEAST_SETTINGS = 3
"""With fewer, ranks of settings tell nothing."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How one quantity agrees on one forget set: a mean over replicates, of means over settings."""

    forget_set: str
    quantity: str
    """One of ``QUANTITIES``."""
    estimate: Estimate


def agreements(trajectories: Sequence[Trajectory], examples: Sequence[TrialExamples]) -> list[Agreement]:
    """Return how the two measures agree on each forget set; empty unless both were measured."""
    found: dict[tuple[str, str], dict[Replicate, list[float]]] = {}
    for own in examples:
        if {GENERALIZED, RELATIVE} <= own.exposures.keys():
            for quantity, value in _of_trial(own):
                groups = found.setdefault((own.trajectory.forget_set, quantity), {})
                groups.setdefault(own.trajectory.replicate, []).append(value)
    for name, replicate, value in _of_settings(trajectories):
        found.setdefault((name, "settings"), {}).setdefault(replicate, []).append(value)
    order = list(QUANTITIES)
    return [
        Agreement(
            forget_set=name,
            quantity=quantity,
            estimate=estimate([float(np.mean(sorted(values))) for values in groups.values()]),
        )
        for (name, quantity), groups in sorted(found.items(), key=lambda one: (one[0][0], order.index(one[0][1])))
    ]


def _of_trial(own: TrialExamples) -> Iterator[tuple[str, float]]:
    general_NS, relative_NS = own.exposures[GENERALIZED], own.exposures[RELATIVE]
    before = rank_correlation(general_NS[:, 0], relative_NS[:, 0])
    if before is not None:
        yield "before", before
    column = _nearest(own)
    if column is None:
        return
    general_N, relative_N = general_NS[:, column], relative_NS[:, column]
    after = rank_correlation(general_N, relative_N)
    if after is not None:
        yield "after", after
    gone_N, gone_too_N = general_N <= UNEXPOSED[GENERALIZED], relative_N <= UNEXPOSED[RELATIVE]
    known_N = ~(np.isnan(general_N) | np.isnan(relative_N))
    most_N = known_N & _memorized_most(own.traits["memorization"])
    for suffix, kept_N in (("", known_N), ("_memorized", most_N)):
        if kept_N.any():
            yield f"only_gen_ex{suffix}", float((gone_N & ~gone_too_N)[kept_N].mean())
            yield f"only_rel_ex{suffix}", float((gone_too_N & ~gone_N)[kept_N].mean())


def _nearest(own: TrialExamples) -> int | None:
    """Return the evaluated step nearest to where mean GenEx is as never trained; None: it never is."""
    time = own.trajectory.time(GENERALIZED)
    return None if math.isinf(time) else int(np.abs(own.steps_S - time).argmin())


def _memorized_most(memorization_N: Numbers) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    known_N = np.isfinite(memorization_N)
    if not known_N.any():
        return known_N
    marked: np.ndarray[tuple[int], np.dtype[np.bool_]] = memorization_N >= np.quantile(memorization_N[known_N], 2 / 3)
    return marked


def _of_settings(trajectories: Sequence[Trajectory]) -> Iterator[tuple[str, Replicate, float]]:
    """Yield the rank correlation of the settings' times of each forget set and replicate, means over seeds."""
    groups: dict[tuple[str, Replicate], dict[str, list[tuple[float, float]]]] = {}
    for own in trajectories:
        if all(len(own.removed(measure)[0]) for measure in (GENERALIZED, RELATIVE)):
            times = [min(own.time(measure), own.followed_until) for measure in (GENERALIZED, RELATIVE)]
            settings = groups.setdefault((own.forget_set, own.replicate), {})
            settings.setdefault(own.setting_id, []).append((times[0], times[1]))
    for (name, replicate), settings in groups.items():
        if len(settings) >= LEAST_SETTINGS:
            times_S2 = np.array([np.mean(sorted(own), axis=0) for own in settings.values()])
            value = rank_correlation(times_S2[:, 0], times_S2[:, 1])
            if value is not None:
                yield name, replicate, value
