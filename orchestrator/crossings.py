"""Where trials end an exposure: the step at which its mean first comes down to what no exposure reads."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from orchestrator.bootstrap import Interval, seed_interval
from orchestrator.levels import Row
from orchestrator.pareto import Numbers
from orchestrator.schema import OWN_KIND
from trainables.untrained import EXPECTED_RELATIVE_EXPOSURE_BITS

UNEXPOSED = {"gen_ex": 0.0, "rel_ex": EXPECTED_RELATIVE_EXPOSURE_BITS}
"""What each measure of mean exposure reads where the model never saw the forget set, in bits."""

PRICES = ("performance", *OWN_KIND)
"""What unlearning costs, in nats per token: on held-out data of the training distribution, and on data of the forget
set's own kind, never trained and retained."""

IDENTITY = ("trial_id", "objective", "optimizer", "learning_rate", "seed")


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
    population_nll: float | None
    """Of never-trained examples of the forget set's own kind, there; None: not measured."""
    population_cost: float | None
    """The same against the base model's."""
    distractor_nll: float | None
    """Of retained examples of its kind, there; None: it has none, or not measured."""
    distractor_cost: float | None
    """The same against the base model's."""

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
    path = ("step", "elapsed_s", measure, *PRICES)
    evaluations = evaluations.select([*IDENTITY, *path])
    after_N6 = columns(evaluations, path)
    measured_N = np.isfinite(after_N6[:, 2:4]).all(axis=1)  # the prices beyond the first may be missing
    rows = evaluations.filter(pa.array(measured_N))
    after_N6 = after_N6[measured_N]
    trial_N = rows.column("trial_id").combine_chunks().dictionary_encode().indices.to_numpy()
    starts_N = np.diff(trial_N, prepend=-1) != 0
    before_N6 = np.roll(after_N6, 1, axis=0)
    before_N6[starts_N] = np.nan if base is None else [0.0, 0.0, *_numbers(base, path[2:])]
    before_N6[starts_N & (after_N6[:, 0] == 0)] = np.nan
    high_N, low_N = before_N6[:, 2] - UNEXPOSED[measure], after_N6[:, 2] - UNEXPOSED[measure]
    (passing,) = np.nonzero((high_N > 0) & (low_N <= 0))
    first = passing[np.unique(trial_N[passing], return_index=True)[1]]
    share_C1 = (high_N[first] / (high_N[first] - low_N[first]))[:, None]
    at_C6 = before_N6[first] + share_C1 * (after_N6[first] - before_N6[first])
    identity = rows.select(IDENTITY).take(first).to_pylist()
    crossings = [
        Crossing(
            **trial,
            steps=steps,
            elapsed_s=elapsed_s,
            performance=prices[0],
            cost=price_lost(prices[0], base, "performance"),
            population_nll=_known(prices[1]),
            population_cost=price_lost(prices[1], base, "population_nll"),
            distractor_nll=_known(prices[2]),
            distractor_cost=price_lost(prices[2], base, "distractor_nll"),
        )
        for trial, (steps, elapsed_s, _, *prices) in zip(identity, at_C6.tolist(), strict=True)
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


def price_lost(value: float | None, base: Row | None, column: str) -> float | None:
    """Return how much higher a price is than the base model's; None where either was not measured."""
    start = None if base is None else base.get(column)
    return None if start is None or _known(value) is None else value - start


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _numbers(row: Row, names: Sequence[str]) -> list[float]:
    return [math.nan if row.get(name) is None else row[name] for name in names]
