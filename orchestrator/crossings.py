"""Where trials end an exposure: the step at which its mean first comes down to what no exposure reads."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.bootstrap import Interval, seed_interval
from orchestrator.pareto import Numbers
from trainables.exposure import EXPECTED_RELATIVE_EXPOSURE_BITS

UNEXPOSED = {"gen_ex": 0.0, "rel_ex": EXPECTED_RELATIVE_EXPOSURE_BITS}
"""What each measure of mean exposure reads where the model never saw the forget set, in bits."""

IDENTITY = ("trial_id", "objective", "optimizer", "learning_rate", "seed")

Row = Mapping[str, Any]
"""A row of the evaluations table, or of the baselines."""


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Where a trial's mean exposure reaches ``UNEXPOSED``, between two evaluations, by linear interpolation."""

    trial_id: str
    objective: str
    optimizer: str
    learning_rate: float
    seed: int
    steps: float
    elapsed_s: float
    """Seconds since the trial started."""
    performance: float
    cost: float | None
    """Performance lost there against the base model, nats per token; None where the base was not measured."""

    @property
    def method(self) -> str:
        """See ``method_of``."""
        return method_of(vars(self))


def method_of(row: Row) -> str:
    """Name how a trial unlearns: by objective and optimizer; plain ascent by its optimizer alone."""
    plain = row["objective"] in (None, "gradient_ascent")
    return str(row["optimizer"]) if plain else f"{row['objective']} {row['optimizer']}"


def crossings_of(evaluations: pa.Table, base: Row | None, measure: str) -> list[Crossing]:
    """Find where each trial's mean exposure first comes down to ``UNEXPOSED``, cheapest first.

    A trial that never does, or has no measure, has no crossing. The base model counts as step 0, where it was measured.

    Args:
        evaluations: rows in (trial, step) order; a value that is not finite counts as not measured.
        base: the base model's row of the baselines.
        measure: ``gen_ex`` or ``rel_ex``.
    """
    path = ("step", "elapsed_s", "performance", measure)
    evaluations = evaluations.select([*IDENTITY, *path])
    after_N4 = columns(evaluations, path)
    measured_N = np.isfinite(after_N4[:, 2:]).all(axis=1)
    rows = evaluations.filter(pa.array(measured_N))
    after_N4 = after_N4[measured_N]
    trial_N = rows.column("trial_id").combine_chunks().dictionary_encode().indices.to_numpy()
    starts_N = np.diff(trial_N, prepend=-1) != 0
    before_N4 = np.roll(after_N4, 1, axis=0)
    before_N4[starts_N] = np.nan if base is None else [0.0, 0.0, *_numbers(base, path[2:])]
    before_N4[starts_N & (after_N4[:, 0] == 0)] = np.nan
    high_N, low_N = before_N4[:, 3] - UNEXPOSED[measure], after_N4[:, 3] - UNEXPOSED[measure]
    (passing,) = np.nonzero((high_N > 0) & (low_N <= 0))
    first = passing[np.unique(trial_N[passing], return_index=True)[1]]
    share_C1 = (high_N[first] / (high_N[first] - low_N[first]))[:, None]
    at_C4 = before_N4[first] + share_C1 * (after_N4[first] - before_N4[first])
    identity = rows.select(IDENTITY).take(first).to_pylist()
    crossings = [
        Crossing(
            **trial,
            steps=steps,
            elapsed_s=elapsed_s,
            performance=performance,
            cost=performance - base["performance"] if base is not None else None,
        )
        for trial, (steps, elapsed_s, performance, _) in zip(identity, at_C4.tolist(), strict=True)
    ]
    return sorted(crossings, key=lambda crossing: (crossing.performance, crossing.trial_id))


def median_steps(crossings: Sequence[Crossing]) -> dict[str, float]:
    """Give the median steps of the trials that cross, by method. Trials that never do are not in it."""
    return {
        name: float(np.median([crossing.steps for crossing in crossings if crossing.method == name]))
        for name in sorted({crossing.method for crossing in crossings})
    }


def median_steps_intervals(crossings: Sequence[Crossing]) -> dict[str, Interval | None]:
    """Give the bootstrap interval of each of the ``median_steps`` over the seeds that have a trial that crosses."""
    intervals = {}
    for name in median_steps(crossings):
        own = [crossing for crossing in crossings if crossing.method == name]
        seeds = sorted({crossing.seed for crossing in own})
        by_seed = [np.array([crossing.steps for crossing in own if crossing.seed == seed]) for seed in seeds]
        intervals[name] = seed_interval(by_seed, lambda groups: float(np.median(np.concatenate(groups))))
    return intervals


def columns(table: pa.Table, names: Sequence[str]) -> Numbers:
    """Stack numeric columns of N rows to (N, names); null is NaN."""
    return np.stack([table.column(name).to_numpy().astype(np.float64) for name in names], axis=1)


def _numbers(row: Row, names: Sequence[str]) -> list[float]:
    return [math.nan if row[name] is None else row[name] for name in names]
