"""What is observed of each finding: one number for each contrast of two trials, or for each trial, inside a replicate.

Nothing is averaged here. A contrast is of an in- and an out-of-distribution set at the same settings and seed, in the
same replicate: of two whole sets, or of the same third of both by the same trait.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from orchestrator.claims.examples import LEAST_EXAMPLES, TrialExamples, rank_correlation
from orchestrator.claims.findings import Finding
from orchestrator.claims.trajectories import BUCKET, Replicate, Trajectory, slope
from orchestrator.pareto import Numbers

AREA_POINTS = 64
"""Shares of the exposure at which the area between two curves is read."""
LEAST_STEPS = 1.0
"""A time below one step counts as one: nothing shorter can be taken."""
BETWEEN = " against "
"""Between the names of two forget sets."""


class Unreached(NamedTuple):
    """How many of a trial were not as never trained within the axis: of its examples, or of itself."""

    trial_id: str
    censored: int
    of: int


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One number of a finding, with what it is grouped by."""

    replicate: Replicate
    sets: str
    """The forget set, or the two that are compared."""
    setting_id: str
    labels: Mapping[str, str]
    """Conditions by dimension."""
    value: float
    """NaN: the trial tells nothing, such as one of which all examples are censored, so that none comes before another.
    It counts as observed, and is in no mean."""
    sides: Mapping[str, float]
    """What the value is made of, for readers, by side: ``in`` and ``out``."""
    unreached: Mapping[str, "Unreached"]
    """By side, how many were not as never trained within the axis (censored)."""
    reached_half: float
    """The same number if the axis ended at half of its steps."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two trials of one replicate at the same settings and seed."""

    within: Trajectory
    out: Trajectory

    @property
    def sets(self) -> str:
        """The names of both forget sets."""
        return f"{self.within.forget_set}{BETWEEN}{self.out.forget_set}"

    @property
    def horizon(self) -> float:
        """Steps up to which both were followed."""
        return min(self.within.followed_until, self.out.followed_until)


def pairs_of(trajectories: Sequence[Trajectory]) -> list[Pair]:
    """Return every contrast of an in- with an out-of-distribution set, or of equal buckets, at equal settings."""
    outs: dict[tuple[str, Replicate, str, int, str | None], list[Trajectory]] = {}
    for own in trajectories:
        if own.distribution == "out":
            outs.setdefault(_cell(own), []).append(own)
    return [
        Pair(within=own, out=other)
        for own in trajectories
        if own.distribution == "in"
        for other in outs.get(_cell(own), [])
    ]


def observe(
    finding: Finding, measure: str, trajectories: Sequence[Trajectory], examples: Sequence[TrialExamples]
) -> list[Observation]:
    """Return what is observed of a finding by one measure of exposure."""
    if finding.letter == "d":
        return list(_of_examples(finding, measure, examples))
    if finding.needs_pair:
        return list(_of_pairs(finding, measure, pairs_of(trajectories)))
    return list(_of_trials([own for own in trajectories if own.distribution == "in"]))


def _of_pairs(finding: Finding, measure: str, pairs: Sequence[Pair]) -> Iterator[Observation]:
    for pair in pairs:
        horizon = pair.horizon
        found = _value(finding, measure, pair, horizon)
        if found is None:
            continue
        value, sides = found
        half = _value(finding, measure, pair, horizon / 2)
        unreached = {
            side: Unreached(own.trial_id, int(own.time(measure) > horizon), 1)
            for side, own in (("in", pair.within), ("out", pair.out))
        }
        yield Observation(
            replicate=pair.within.replicate,
            sets=pair.sets,
            setting_id=pair.within.setting_id,
            labels={name: _joined(label, pair.out.labels[name]) for name, label in pair.within.labels.items()},
            value=value,
            sides=sides,
            unreached={} if finding.name == "decay_faster" else unreached,
            reached_half=value if half is None else half[0],
        )


def _value(finding: Finding, measure: str, pair: Pair, horizon: float) -> tuple[float, dict[str, float]] | None:
    """Return the number of a contrast and its two sides; None: it was not measured."""
    if finding.name == "decay_faster":
        return _decay_faster(pair)
    if horizon <= 0 or not all(len(own.removed(measure)[0]) for own in (pair.within, pair.out)):
        return None
    if finding.name == "steps":
        inside, out = (min(own.time(measure), horizon) for own in (pair.within, pair.out))
        return math.log2(max(out, LEAST_STEPS) / max(inside, LEAST_STEPS)), {"in": inside, "out": out}
    assert finding.kind is not None
    share = min(own.farthest(measure, horizon) for own in (pair.within, pair.out))
    if finding.name.startswith("area"):
        share_G = share * (np.arange(AREA_POINTS) + 0.5) / AREA_POINTS
    else:
        share_G = np.array([share])
    inside, out = (float(own.losses_at(measure, finding.kind, share_G).mean()) for own in (pair.within, pair.out))
    return (inside - out, {"in": inside, "out": out}) if math.isfinite(inside - out) else None


def _decay_faster(pair: Pair) -> tuple[float, dict[str, float]] | None:
    both_S = np.intersect1d(pair.within.decay_steps_S, pair.out.decay_steps_S)
    inside, out = (slope(both_S, own.decay_S[np.isin(own.decay_steps_S, both_S)]) for own in (pair.within, pair.out))
    if inside is None or out is None:
        return None
    size = abs(inside) + abs(out)
    return (inside - out) / size if size else 0.0, {"in": inside, "out": out}


def _of_trials(trajectories: Sequence[Trajectory]) -> Iterator[Observation]:
    for own in trajectories:
        value = slope(own.decay_steps_S, own.decay_S)
        if value is not None:
            yield Observation(
                replicate=own.replicate, sets=own.forget_set, setting_id=own.setting_id, labels=own.labels,
                value=value, sides={"in": value}, unreached={}, reached_half=value,
            )  # fmt: skip


def _of_examples(finding: Finding, measure: str, examples: Sequence[TrialExamples]) -> Iterator[Observation]:
    for own in examples:
        if measure not in own.exposures:
            continue
        trait_N = own.traits[finding.name]
        if not _differ(trait_N):
            continue
        times_N = own.times(measure)
        end = own.trajectory.followed_until
        value = rank_correlation(np.minimum(times_N, end), trait_N)
        half = rank_correlation(np.minimum(times_N, end / 2), trait_N)
        yield Observation(
            replicate=own.trajectory.replicate,
            sets=own.trajectory.forget_set,
            setting_id=own.trajectory.setting_id,
            labels=own.trajectory.labels,
            value=math.nan if value is None else value,
            sides={},
            unreached={"examples": Unreached(own.trajectory.trial_id, int((times_N > end).sum()), len(times_N))},
            reached_half=math.nan if value is None else value if half is None else half,
        )


def _differ(trait_N: Numbers) -> bool:
    """Return whether enough examples were measured, and differ, for ranks to tell something."""
    known_K = trait_N[np.isfinite(trait_N)]
    return len(known_K) >= LEAST_EXAMPLES and bool(np.ptp(known_K) > 0)


def _joined(inside: str, out: str) -> str:
    """Return the condition of two trials: their common one, that of the only one that has any, or both."""
    return inside or out if inside == out or not (inside and out) else f"{inside}{BETWEEN}{out}"


def _cell(own: Trajectory) -> tuple[str, Replicate, str, int, str | None]:
    return own.sweep, own.replicate, own.setting_id, own.seed, own.labels.get(BUCKET)
