"""Computing the Pareto frontier of each forget set of a sweep.

Two objectives, each minimised, or maximised where more is better: by default unlearning quality in bits and performance
(held-out NLL) in nats per token. Only evaluations of status ``completed`` whose objectives are finite are candidates.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.frontier.bootstrap import agree, resampled, seed_interval
from orchestrator.frontier.crossings import UNEXPOSED, Crossing, crossings_of
from orchestrator.frontier.frontier import OBJECTIVES, Frontier
from orchestrator.frontier.objectives import (
    default_bounds,
    exposure_floor,
    objective_of,
    require_bounds,
    require_objectives,
    worst_corner,
)
from orchestrator.frontier.setting_crossings import SettingCrossing, crossings_by_setting, steps_by_method
from orchestrator.frontier.spreads import Row, floor_of
from orchestrator.frontier.targets import target_of
from orchestrator.frontier.trial_rows import columns
from orchestrator.ledger import Ledger, mean_row
from orchestrator.pareto import hypervolume, knee, nondominated
from orchestrator.spec import of_present_spec, stored_spec
from trainables.config import MATCHED_WITHIN
from trainables.records import Status


def frontiers(
    ledger: Ledger,
    forget_set: str | None = None,
    *,
    objectives: tuple[str, str] = OBJECTIVES,
    exposures_at_most: Sequence[float] = (),
    performance_at_most: float = math.inf,
) -> list[Frontier]:
    """Return the frontier of every forget set of a sweep, or of one.

    Args:
        ledger: the ledger of the sweep.
        forget_set: the only forget set to compute; None: all.
        objectives: two columns of ``MINIMISED`` or ``MAXIMISED``; of signed ones, distances to the level of
            an unexposed model are minimised.
        exposures_at_most: bounds of the first objective to find targets for; empty: see ``default_bounds``.
        performance_at_most: bound of the second objective in every target.

    Raises:
        SweepError: the sweep has no such forget set, evaluations have no such columns, the level of a signed column is
            not known, or a column of which more is better is bounded from above.
    """
    require_objectives(objectives)
    require_bounds(objectives, exposures_at_most, performance_at_most)
    spec = stored_spec(ledger)
    names = spec.require_forget_sets(forget_set)
    evaluations = of_present_spec(ledger, spec, ledger.table("evaluations"))
    baselines = ledger.baselines()
    return [
        frontier_of(
            evaluations.filter(pc.equal(evaluations.column("forget_set"), name)),
            forget_set=name,
            distribution=spec.data.forget_set_of(name).distribution,
            bucket=spec.data.third(name),
            matched_within=spec.data.matched_within,
            bases={row["replicate"]: row for row in baselines.bases(name)},
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
    bucket: str = "",
    matched_within: float = MATCHED_WITHIN,
    bases: Mapping[int, Row],
    references: Sequence[Row],
    copying: Row | None = None,
    performance_floor: float,
    objectives: tuple[str, str] = OBJECTIVES,
    exposures_at_most: Sequence[float] = (),
    performance_at_most: float = math.inf,
) -> Frontier:
    """Return the frontier of one forget set from its evaluations, in any order. Replicates are pooled.

    Args:
        evaluations: of the forget set.
        forget_set: its name.
        distribution: ``in`` or ``out``.
        bucket: which third of a forget set it is; empty: it is a whole set.
        matched_within: share by which the exposures of sets may differ that count as equally exposed.
        bases: the base models' rows of the baselines, by replicate.
        references: the reference models' rows, of all replicates.
        copying: the row of copied sources, of encoder-decoder models.
        performance_floor: largest increase of the held-out NLL, nats per token.
        objectives, exposures_at_most, performance_at_most: as for ``frontiers``.
    """
    base = mean_row(list(bases.values()))
    completed = evaluations.filter(pc.equal(evaluations.column("status"), Status.COMPLETED.value))
    completed = completed.sort_by([("trial_id", "ascending"), ("step", "ascending")])
    floor = floor_of(references)
    first, second = (objective_of(name, floor, base, references=len(references)) for name in objectives)
    minimised = (first, second)
    raw_N2 = columns(completed, objectives)
    values_N2 = np.stack([own.of(raw_N) for own, raw_N in zip(minimised, raw_N2.T, strict=True)], axis=1)
    finite_N = np.isfinite(values_N2).all(axis=1)
    candidates, values_N2 = completed.filter(pa.array(finite_N)), values_N2[finite_N]
    front = nondominated(values_N2)
    points = candidates.take(front).to_pylist()
    bend = knee(values_N2[front])
    corner, origin = worst_corner(minimised, values_N2, base, performance_floor)
    lowest = exposure_floor(minimised[0], references)
    crossings = {measure: crossings_of(completed, bases, measure) for measure in UNEXPOSED}
    by_setting = {measure: crossings_by_setting(evaluations, found) for measure, found in crossings.items()}
    steps = {measure: steps_by_method(found, by_setting[measure]) for measure, found in crossings.items()}
    measures = [m for m in UNEXPOSED if _measured(completed, base, m)]
    seed_N, replicate_N = (candidates.column(name).to_numpy() for name in ("seed", "replicate"))
    over = resampled(replicate_N.tolist())
    unit_N = replicate_N if over == "replicates" else seed_N
    by_seed = [values_N2[unit_N == unit] for unit in np.unique(unit_N).tolist()]
    seeds_agree = agree(by_seed)
    return Frontier(
        forget_set=forget_set,
        distribution=distribution,
        bucket=bucket,
        matched_within=matched_within,
        objectives=objectives,
        levels=(minimised[0].level, minimised[1].level),
        trials=len(evaluations.column("trial_id").unique()),
        evaluations=len(candidates),
        points=points,
        reference_point=None if corner is None else (first.shown(corner[0]), second.shown(corner[1])),
        reference_origin=origin,
        hypervolume=hypervolume(values_N2[front], corner) if corner is not None else None,
        hypervolume_by_seed=seed_interval(
            [hypervolume(own_N2, corner) for own_N2 in by_seed] if corner is not None and not seeds_agree else [],
            lambda areas: float(np.mean(areas)),
            over=over,
        ),
        seeds=len(np.unique(seed_N)),
        replicates=len(np.unique(replicate_N)),
        seeds_agree=seeds_agree,
        knee=points[bend] if bend is not None else None,
        targets=[
            target_of(candidates, values_N2, bound, performance_at_most, floor=lowest)
            for bound in exposures_at_most or default_bounds(minimised[0], lowest)
        ],
        floor=floor,
        exposure_floor=lowest,
        base=base,
        bases=bases,
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
    """Return the evaluation nearest to the price: the nearest step of the cheapest trial of the best setting.

    The price is of GenEx if that was measured, else of RelEx. Step 0 is not unlearned, so it is never returned.
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
    """Return whether an exposure was measured of any trial or of the base model."""
    known = base is not None and base.get(measure) is not None
    return known or bool(np.isfinite(columns(completed, (measure,))).any())
