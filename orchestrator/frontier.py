"""Pareto frontiers: what performance each level of unlearning costs, by forget set.

Both objectives are minimised: unlearning quality in bits, performance (held-out NLL) in nats per token. Only finite
evaluations of status ``completed`` count. Non-dominated sorting and hypervolume are moocore's.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import moocore
import numpy as np

from orchestrator.ledger import Ledger
from orchestrator.sweeps import stored_spec
from trainables.exposure import EXPECTED_RELATIVE_EXPOSURE_BITS
from trainables.records import Status

OBJECTIVES = ("unlearning_quality", "performance")
UNEXPOSED = {"gen_ex": 0.0, "rel_ex": EXPECTED_RELATIVE_EXPOSURE_BITS}
"""What each measure of mean exposure reads where the model never saw the forget set, in bits."""

Row = Mapping[str, Any]
"""A row of the evaluations table, or of the baselines."""


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Where a trial's mean exposure reaches ``UNEXPOSED``, between two evaluations, by linear interpolation."""

    trial_id: str
    optimizer: str
    learning_rate: float
    seed: int
    steps: float
    performance: float
    cost: float | None
    """Performance lost there against the base model, nats per token; None where the base was not measured."""


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """The frontier of one forget set."""

    forget_set: str
    distribution: str
    trials: int
    evaluations: int
    """Finite, completed evaluations: the candidates."""
    points: Sequence[Row]
    """Non-dominated evaluations, best unlearned first; of equal ones the first by trial and step."""
    reference_point: tuple[float, float] | None
    """The worst corner hypervolume is measured from: no unlearning, and performance at the floor."""
    hypervolume: float | None
    """Bits x nats per token between the frontier and the reference point."""
    base: Row | None
    references: Sequence[Row]
    crossings: Mapping[str, Sequence[Crossing]]
    """By measure of exposure: the trials that reach ``UNEXPOSED``, cheapest first."""

    def steps_to_unlearn(self, measure: str) -> dict[str, float]:
        """Give the median steps until the exposure is gone, by optimizer."""
        crossings = self.crossings[measure]
        optimizers = sorted({crossing.optimizer for crossing in crossings})
        return {name: median(c.steps for c in crossings if c.optimizer == name) for name in optimizers}

    def as_json(self) -> dict[str, Any]:
        """Give plain data for ``--json``."""
        return {**asdict(self), "steps_to_unlearn": {name: self.steps_to_unlearn(name) for name in self.crossings}}


def frontiers(ledger: Ledger, forget_set: str | None = None) -> list[Frontier]:
    """Compute the frontier of every forget set of a sweep, or of one.

    Raises:
        SweepError: the sweep has no such forget set.
    """
    spec = stored_spec(ledger)
    names = spec.require_forget_sets(forget_set)
    rows = sorted(ledger.table("evaluations").to_pylist(), key=lambda row: (row["trial_id"], row["step"]))
    baselines = ledger.baselines()
    result = []
    for name in names:
        own = [row for row in rows if row["forget_set"] == name]
        base = next((b for b in baselines if b["forget_set"] == name and b["model"] == "base"), None)
        result.append(
            frontier_of(
                own,
                forget_set=name,
                distribution=spec.data.forget_sets[name].distribution,
                base=base,
                references=[b for b in baselines if b["forget_set"] == name and b["model"] != "base"],
                performance_floor=spec.stop.max_heldout_nll_increase,
            )
        )
    return result


def frontier_of(
    rows: Iterable[Row],
    *,
    forget_set: str,
    distribution: str,
    base: Row | None,
    references: Sequence[Row],
    performance_floor: float,
) -> Frontier:
    """Compute one frontier from evaluation rows in (trial, step) order."""
    rows = list(rows)
    candidates = [row for row in rows if row["status"] == Status.COMPLETED and _is_finite(row)]
    points = pareto(candidates)
    corner = None
    if base is not None:
        corner = (base["unlearning_quality"], base["performance"] + performance_floor)
    elif candidates:
        corner = (max(_values(r)[0] for r in candidates), max(_values(r)[1] for r in candidates))
    by_trial: dict[str, list[Row]] = {}
    for row in candidates:
        by_trial.setdefault(row["trial_id"], []).append(row)
    crossings = {
        measure: sorted(
            (c for trial in by_trial.values() if (c := crossing_of(trial, base, measure)) is not None),
            key=lambda c: (c.performance, c.trial_id),
        )
        for measure in UNEXPOSED
    }
    return Frontier(
        forget_set=forget_set,
        distribution=distribution,
        trials=len({row["trial_id"] for row in rows}),
        evaluations=len(candidates),
        points=points,
        reference_point=corner,
        hypervolume=hypervolume([_values(row) for row in points], corner) if corner is not None else None,
        base=base,
        references=references,
        crossings=crossings,
    )


def pareto(rows: Sequence[Row]) -> list[Row]:
    """Keep the non-dominated rows, best unlearned first. Rows of equal values are one point: the first stays."""
    if not rows:
        return []
    values = np.array([_values(row) for row in rows], dtype=float)
    keep = moocore.is_nondominated(values, keep_weakly=False)
    return sorted((row for row, kept in zip(rows, keep, strict=True) if kept), key=_values)


def hypervolume(points: Sequence[tuple[float, float]], reference_point: tuple[float, float]) -> float:
    """Area that ``points`` dominate below the reference point; points beyond it add nothing. 0 for no point."""
    if not points:
        return 0.0
    return float(moocore.hypervolume(np.array(points, dtype=float), ref=np.array(reference_point)))


def crossing_of(trial: Sequence[Row], base: Row | None, measure: str) -> Crossing | None:
    """Find where one trial's mean exposure first comes down to ``UNEXPOSED``. None: it never does, or has no measure.

    The base model counts as step 0, where it was measured.
    """
    start = [] if base is None or trial[0]["step"] == 0 else [{**base, "step": 0}]
    path = [row for row in (*start, *trial) if row[measure] is not None]
    for before, after in pairwise(path):
        high, low = (row[measure] - UNEXPOSED[measure] for row in (before, after))
        if high > 0 >= low:
            share = high / (high - low)
            performance = before["performance"] + share * (after["performance"] - before["performance"])
            return Crossing(
                trial_id=after["trial_id"],
                optimizer=after["optimizer"],
                learning_rate=after["learning_rate"],
                seed=after["seed"],
                steps=before["step"] + share * (after["step"] - before["step"]),
                performance=performance,
                cost=performance - base["performance"] if base is not None else None,
            )
    return None


def _is_finite(row: Row) -> bool:
    return all(value is not None and math.isfinite(value) for value in _values(row))


def _values(row: Row) -> tuple[float, float]:
    return row[OBJECTIVES[0]], row[OBJECTIVES[1]]
