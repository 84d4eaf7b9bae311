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

from orchestrator.frontier.bootstrap import Interval, agree, seed_interval
from orchestrator.frontier.crossings import (
    UNEXPOSED,
    Crossing,
    SettingCrossing,
    columns,
    crossings_by_setting,
    crossings_of,
    steps_by_method,
)
from orchestrator.frontier.levels import Level, Row, floor_of
from orchestrator.frontier.objectives import (
    Objective,
    default_bounds,
    exposure_floor,
    objective_of,
    require_objectives,
    worst_corner,
)
from orchestrator.frontier.targets import Target, target_of
from orchestrator.ledger import Ledger
from orchestrator.pareto import hypervolume, knee, nondominated
from orchestrator.spec import of_present_spec, stored_spec
from trainables.records import Status

OBJECTIVES = ("unlearning_quality", "performance")
CHOSEN_NOTE = (
    "points and prices are chosen on the same evaluations that they are shown on, so the best are too good: by 0.4 to "
    "1.2 bits of |GenEx| where it was measured; other data, seeds or models would show less"
)
"""What is to be said once beside everything that is called best."""

__all__ = [
    "CHOSEN_NOTE", "OBJECTIVES", "UNEXPOSED", "Crossing", "Frontier", "Level", "Row", "SettingCrossing", "Target",
    "frontier_of", "frontiers",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """The frontier of one forget set."""

    forget_set: str
    distribution: str
    objectives: tuple[str, str]
    levels: tuple[float | None, float | None]
    """For each objective: what distance to is minimised; None: the number itself is."""
    trials: int
    evaluations: int
    """Finite, completed evaluations: the candidates."""
    points: Sequence[Row]
    """Non-dominated evaluations, least exposed first; of equal ones the first by trial and step."""
    reference_point: tuple[float, float] | None
    """The corner that hypervolume is measured from; None where there is neither base model nor candidate."""
    reference_origin: tuple[str, str]
    """What each coordinate of the reference point is."""
    hypervolume: float | None
    """Area between the frontier and the reference point, in the product of the objectives' units."""
    hypervolume_by_seed: Interval | None
    """The mean over seeds of the hypervolume of one seed's frontier. All seeds' common frontier dominates each of them,
    so resampling seeds could only lower ``hypervolume``: its own interval would lie beside it. None: one seed, or
    seeds that agree."""
    seeds: int
    """Seeds that have a candidate."""
    seeds_agree: bool
    """Whether there are several seeds, and their evaluations are equal to rounding: they are no replicates."""
    knee: Row | None
    """See ``pareto.knee``."""
    targets: Sequence[Target]
    floor: Mapping[str, Level]
    """By measure of exposure: what the reference models have of it, each measured against the others."""
    exposure_floor: float | None
    """What they have of the first objective on average: no model is expected below it. None: not known."""
    base: Row | None
    references: Sequence[Row]
    copying: Row | None
    """For encoder-decoder models: the BLEU and chrF of sources as they are."""
    crossings: Mapping[str, Sequence[Crossing]]
    """By measure of exposure: the trials that reach ``UNEXPOSED``, cheapest first."""
    by_setting: Mapping[str, Sequence[SettingCrossing]]
    """By measure of exposure: every setting, over its seeds, the best first. See ``crossings_by_setting``."""
    steps_to_unlearn: Mapping[str, Mapping[str, float]]
    """By measure of exposure and method: the median steps until it is gone, over the seeds of the method's best
    setting. See ``steps_by_method``."""
    steps_intervals: Mapping[str, Mapping[str, Interval | None]]
    """By measure and method: the bootstrap interval of ``steps_to_unlearn``. None: only one seed gets there, or all get
    there at the same step."""
    measures: Sequence[str]
    """The measures of exposure that were measured: ``gen_ex`` is not where there are no reference models."""
    priced: Row | None
    """The evaluated step nearest to the price: see ``priced_row``. None: no trial ends the exposure."""

    @property
    def measure(self) -> str:
        """Return the measure that the price is of: ``gen_ex``, or ``rel_ex`` where there are no reference models."""
        return "rel_ex" if "gen_ex" not in self.measures else "gen_ex"

    def price(self, measure: str) -> SettingCrossing | None:
        """Return the setting that ends an exposure at the least performance lost; None: no trial ends it."""
        return next((setting for setting in self.by_setting[measure] if setting.reached), None)

    def minimised(self, row: Row) -> tuple[float | None, float | None]:
        """Return what is minimised of a row, by objective: the number, or its distance to the objective's level."""
        first, second = map(Objective, self.objectives, self.levels)
        return first.of_row(row), second.of_row(row)

    def as_json(self) -> dict[str, Any]:
        """Give plain data for ``--json``."""
        return {**asdict(self), "chosen": CHOSEN_NOTE}


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
        objectives: two columns of ``MINIMISED``, signed ones by their distance to what an unexposed model has; the
            first is bounded by ``exposures_at_most``.
        exposures_at_most: levels of the first objective to give targets for; none: see ``default_bounds``.
        performance_at_most: bound of the second objective in every target.

    Raises:
        SweepError: the sweep has no such forget set, or evaluations no such columns; or nothing says the level of a
            signed one.
    """
    require_objectives(objectives)
    spec = stored_spec(ledger)
    names = spec.require_forget_sets(forget_set)
    evaluations = of_present_spec(ledger, spec, ledger.table("evaluations"))
    baselines = ledger.baselines()
    return [
        frontier_of(
            evaluations.filter(pc.equal(evaluations.column("forget_set"), name)),
            forget_set=name,
            distribution=spec.data.forget_sets[name].distribution,
            base=baselines.base(name),
            references=baselines.references(name),
            copying=baselines.copying(name),
            performance_floor=spec.stop.max_heldout_nll_increase,
            objectives=objectives,
            exposures_at_most=exposures_at_most,
            performance_at_most=performance_at_most,
        )
        for name in names
    ]


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
    floor = floor_of(references)
    minimised = (objective_of(objectives[0], floor, base), objective_of(objectives[1], floor, base))
    raw_N2 = columns(completed, objectives)
    values_N2 = np.stack([own.of(raw_N) for own, raw_N in zip(minimised, raw_N2.T, strict=True)], axis=1)
    finite_N = np.isfinite(values_N2).all(axis=1)
    candidates, values_N2 = completed.filter(pa.array(finite_N)), values_N2[finite_N]
    front = nondominated(values_N2)
    points = candidates.take(front).to_pylist()
    bend = knee(values_N2[front])
    corner, origin = worst_corner(minimised, values_N2, base, performance_floor)
    lowest = exposure_floor(minimised[0], references)
    crossings = {measure: crossings_of(completed, base, measure) for measure in UNEXPOSED}
    by_setting = {measure: crossings_by_setting(evaluations, found) for measure, found in crossings.items()}
    steps = {measure: steps_by_method(found, by_setting[measure]) for measure, found in crossings.items()}
    measures = [m for m in UNEXPOSED if _measured(completed, base, m)]
    seed_N = candidates.column("seed").to_numpy()
    by_seed = [values_N2[seed_N == seed] for seed in np.unique(seed_N).tolist()]
    seeds_agree = agree(by_seed)
    return Frontier(
        forget_set=forget_set,
        distribution=distribution,
        objectives=objectives,
        levels=(minimised[0].level, minimised[1].level),
        trials=len(evaluations.column("trial_id").unique()),
        evaluations=len(candidates),
        points=points,
        reference_point=corner,
        reference_origin=origin,
        hypervolume=hypervolume(values_N2[front], corner) if corner is not None else None,
        hypervolume_by_seed=seed_interval(
            [hypervolume(own_N2, corner) for own_N2 in by_seed] if corner is not None and not seeds_agree else [],
            lambda areas: float(np.mean(areas)),
        ),
        seeds=len(by_seed),
        seeds_agree=seeds_agree,
        knee=points[bend] if bend is not None else None,
        targets=[
            target_of(candidates, values_N2, bound, performance_at_most, floor=lowest)
            for bound in exposures_at_most or default_bounds(minimised[0], lowest)
        ],
        floor=floor,
        exposure_floor=lowest,
        base=base,
        references=references,
        copying=copying,
        crossings=crossings,
        by_setting=by_setting,
        steps_to_unlearn={measure: {name: own[0] for name, own in by.items()} for measure, by in steps.items()},
        steps_intervals={measure: {name: own[1] for name, own in by.items()} for measure, by in steps.items()},
        measures=measures,
        priced=priced_row(completed, crossings, by_setting, measures),
    )


def priced_row(
    completed: pa.Table,
    crossings: Mapping[str, Sequence[Crossing]],
    by_setting: Mapping[str, Sequence[SettingCrossing]],
    measures: Sequence[str],
) -> Row | None:
    """Return the evaluation that stands for the price: of the cheapest trial of the best setting, the nearest step.

    By GenEx where it was measured, else by RelEx. Step 0 is not unlearned, and stands for nothing.
    """
    if not measures:
        return None
    best = next(iter(by_setting[measures[0]]), None)
    crossing = next((c for c in crossings[measures[0]] if best is not None and c.setting_id == best.setting_id), None)
    if crossing is None:
        return None
    own = completed.filter(
        pc.and_(pc.equal(completed.column("trial_id"), crossing.trial_id), pc.greater(completed.column("step"), 0))
    )
    row: Row = min(own.to_pylist(), key=lambda row: (abs(row["step"] - crossing.steps), row["step"]))
    return row


def _measured(completed: pa.Table, base: Row | None, measure: str) -> bool:
    """Tell whether an exposure was measured, of any trial or of the base model."""
    known = base is not None and base.get(measure) is not None
    return known or bool(np.isfinite(columns(completed, (measure,))).any())
