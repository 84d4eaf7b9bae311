"""Pareto frontiers: what performance each level of unlearning costs, by forget set.

Two objectives, both minimised: unless asked otherwise unlearning quality in bits, and performance (held-out NLL) in
nats per token. Only evaluations of status ``completed`` whose objectives are finite are candidates.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.admission import of_present_spec
from orchestrator.bootstrap import Interval, seed_interval
from orchestrator.crossings import (
    UNEXPOSED,
    Crossing,
    Row,
    columns,
    crossings_of,
    median_steps,
    median_steps_intervals,
)
from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.pareto import Numbers, hypervolume, knee, nondominated
from orchestrator.schema import MINIMISED, unit
from orchestrator.spec import stored_spec
from orchestrator.targets import Target, target_of
from trainables.errors import nearest_name_hint
from trainables.records import Status

OBJECTIVES = ("unlearning_quality", "performance")
EXPOSURE_BOUNDS_BITS = (16.0, 8.0, 4.0, 2.0)
"""Exposures that targets are given for, where the first objective is in bits and none are asked for."""

__all__ = [
    "EXPOSURE_BOUNDS_BITS", "OBJECTIVES", "UNEXPOSED", "Crossing", "Frontier", "Row", "Target",
    "frontier_of", "frontiers",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """The frontier of one forget set."""

    forget_set: str
    distribution: str
    objectives: tuple[str, str]
    trials: int
    evaluations: int
    """Finite, completed evaluations: the candidates."""
    points: Sequence[Row]
    """Non-dominated evaluations, best unlearned first; of equal ones the first by trial and step."""
    reference_point: tuple[float, float] | None
    """The corner that hypervolume is measured from; None where there is neither base model nor candidate."""
    reference_origin: tuple[str, str]
    """What each coordinate of the reference point is."""
    hypervolume: float | None
    """Area between the frontier and the reference point, in the product of the objectives' units."""
    hypervolume_by_seed: Interval | None
    """The mean over seeds of the hypervolume of one seed's frontier. All seeds' common frontier dominates each of them,
    so resampling seeds could only lower ``hypervolume``: its own interval would lie beside it. None: one seed."""
    knee: Row | None
    """See ``pareto.knee``."""
    targets: Sequence[Target]
    base: Row | None
    references: Sequence[Row]
    copying: Row | None
    """For encoder-decoder models: the BLEU and chrF of sources as they are."""
    crossings: Mapping[str, Sequence[Crossing]]
    """By measure of exposure: the trials that reach ``UNEXPOSED``, cheapest first."""
    steps_intervals: Mapping[str, Mapping[str, Interval | None]]
    """By measure and method: the bootstrap interval of ``steps_to_unlearn``. None: only one seed gets there."""

    def steps_to_unlearn(self, measure: str) -> dict[str, float]:
        """Give the median steps until the exposure is gone, by method, of the trials that get there."""
        return median_steps(self.crossings[measure])

    def as_json(self) -> dict[str, Any]:
        """Give plain data for ``--json``."""
        return {**asdict(self), "steps_to_unlearn": {name: self.steps_to_unlearn(name) for name in self.crossings}}


def frontiers(
    ledger: Ledger,
    forget_set: str | None = None,
    *,
    objectives: tuple[str, str] = OBJECTIVES,
    exposures_at_most: Sequence[float] = (),
    performance_at_most: float = math.inf,
) -> list[Frontier]:
    """Compute the frontier of every forget set of a sweep, or of one.

    Args:
        ledger: the sweep.
        forget_set: only this one.
        objectives: two columns of ``MINIMISED``; the first is bounded by ``exposures_at_most``.
        exposures_at_most: levels of the first objective to give targets for; none: ``EXPOSURE_BOUNDS_BITS``, if it is
            in bits.
        performance_at_most: bound of the second objective in every target.

    Raises:
        SweepError: the sweep has no such forget set, or evaluations no such columns.
    """
    _require_objectives(objectives)
    spec = stored_spec(ledger)
    names = spec.require_forget_sets(forget_set)
    evaluations = of_present_spec(ledger, spec, ledger.table("evaluations"))
    baselines = ledger.baselines()
    result = []
    for name in names:
        own = [row for row in baselines if row["forget_set"] == name]
        result.append(
            frontier_of(
                evaluations.filter(pc.equal(evaluations.column("forget_set"), name)),
                forget_set=name,
                distribution=spec.data.forget_sets[name].distribution,
                base=next((row for row in own if row["model"] == "base"), None),
                references=[row for row in own if row["model"].startswith("reference")],
                copying=next((row for row in own if row["model"] == "copy"), None),
                performance_floor=spec.stop.max_heldout_nll_increase,
                objectives=objectives,
                exposures_at_most=exposures_at_most,
                performance_at_most=performance_at_most,
            )
        )
    return result


def frontier_of(
    evaluations: pa.Table,
    *,
    forget_set: str,
    distribution: str,
    base: Row | None,
    references: Sequence[Row],
    copying: Row | None = None,
    performance_floor: float,
    objectives: tuple[str, str] = OBJECTIVES,
    exposures_at_most: Sequence[float] = (),
    performance_at_most: float = math.inf,
) -> Frontier:
    """Compute one frontier from the evaluations of one forget set, in any order."""
    completed = evaluations.filter(pc.equal(evaluations.column("status"), Status.COMPLETED.value))
    completed = completed.sort_by([("trial_id", "ascending"), ("step", "ascending")])
    values_N2 = columns(completed, objectives)
    finite_N = np.isfinite(values_N2).all(axis=1)
    candidates, values_N2 = completed.filter(pa.array(finite_N)), values_N2[finite_N]
    front = nondominated(values_N2)
    points = candidates.take(front).to_pylist()
    bend = knee(values_N2[front])
    corner, origin = _reference_point(values_N2, base, objectives, performance_floor)
    if not exposures_at_most and unit(objectives[0]) == "bits":
        exposures_at_most = EXPOSURE_BOUNDS_BITS
    crossings = {measure: crossings_of(completed, base, measure) for measure in UNEXPOSED}
    seed_N = candidates.column("seed").to_numpy()
    seeds = np.unique(seed_N).tolist()
    return Frontier(
        forget_set=forget_set,
        distribution=distribution,
        objectives=objectives,
        trials=len(evaluations.column("trial_id").unique()),
        evaluations=len(candidates),
        points=points,
        reference_point=corner,
        reference_origin=origin,
        hypervolume=hypervolume(values_N2[front], corner) if corner is not None else None,
        hypervolume_by_seed=seed_interval(
            [hypervolume(values_N2[seed_N == seed], corner) for seed in seeds] if corner is not None else [],
            lambda areas: float(np.mean(areas)),
        ),
        knee=points[bend] if bend is not None else None,
        targets=[target_of(candidates, values_N2, bound, performance_at_most) for bound in exposures_at_most],
        base=base,
        references=references,
        copying=copying,
        crossings=crossings,
        steps_intervals={name: median_steps_intervals(found) for name, found in crossings.items()},
    )


def _require_objectives(objectives: tuple[str, str]) -> None:
    for name in objectives:
        if name not in MINIMISED:
            raise SweepError(
                f"--objectives: '{name}' is no number that can be minimised; {nearest_name_hint(name, MINIMISED)}"
            )
    if objectives[0] == objectives[1]:
        raise SweepError(f"--objectives: '{objectives[0]}' twice; give two columns that pull apart")


def _reference_point(
    values_N2: Numbers, base: Row | None, objectives: tuple[str, str], performance_floor: float
) -> tuple[tuple[float, float] | None, tuple[str, str]]:
    """Choose the worst corner worth counting: the base's exposure, performance at the floor, else the worst seen."""
    corner, origin = [], []
    for name, values_N in zip(objectives, values_N2.T, strict=True):
        start = None if base is None else base.get(name)
        if start is None or name in ("forget_nll", "retain_nll", "heldout_perplexity"):
            corner.append(max(values_N, default=math.nan))
            origin.append("the worst evaluation")
        elif name in ("performance", "heldout_nll"):
            corner.append(start + performance_floor)
            origin.append("performance at the floor")
        else:
            corner.append(start)
            origin.append("no unlearning")
    point = (float(corner[0]), float(corner[1]))
    return point if np.isfinite(point).all() else None, (origin[0], origin[1])
