"""Computing the claims of one or more sweeps: a table of verdicts for each pool of them, and what stands beside it."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.claims.deciding import Decision, Observed, decide, decide_by_condition
from orchestrator.claims.describing.agreement import Agreement, agreements
from orchestrator.claims.describing.matching import Matching, matchings
from orchestrator.claims.describing.mixed_models import MixedModel, mixed_models
from orchestrator.claims.describing.optional_libraries import MissingLibraryError
from orchestrator.claims.describing.survival import CurveTest, SurvivalCurve, curve_tests, survival_curves
from orchestrator.claims.examples import TrialExamples
from orchestrator.claims.findings import COST_KINDS, FINDINGS, Finding
from orchestrator.claims.observations import Observation, observe, pairs_of
from orchestrator.claims.pooling import pools_of, tables_of
from orchestrator.claims.reading import MEASURES, SweepTables, examples_of, trajectories_of
from orchestrator.claims.trajectories import Replicate, Trajectory
from orchestrator.ledger import Ledger


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What the sweeps of one pool say of every finding."""

    sweeps: Sequence[str]
    differences: Sequence[str]
    """Keys of the spec that differ between the sweeps."""
    measure: str | None
    """Measure of exposure that verdicts are by; None: none was measured."""
    replicates: Sequence[Replicate]
    settings: int
    last_step: int
    decisions: Sequence[Decision]
    conditions: Sequence[Decision]
    unmeasured: Sequence[tuple[Finding, str]]
    """Findings of which there is no effect, and why."""
    notes: Sequence[str]
    matchings: Sequence[Matching]
    agreements: Sequence[Agreement]
    survival: Sequence[SurvivalCurve] | None
    """None: it was not asked for, as the next two."""
    tests: Sequence[CurveTest] | None
    mixed: Sequence[MixedModel] | None

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "sweeps": list(self.sweeps),
            "differences": list(self.differences),
            "measure": self.measure,
            "replicates": len(self.replicates),
            "settings": self.settings,
            "last_step": self.last_step,
            "findings": [own.as_json() for own in self.decisions],
            "conditions": [own.as_json() for own in self.conditions],
            "unmeasured": [
                {"finding": finding.name, "estimand": finding.estimand, "reason": reason}
                for finding, reason in self.unmeasured
            ],
            "notes": list(self.notes),
            "before_unlearning": [{**asdict(own), "matched": own.matched} for own in self.matchings],
            "agreement": [asdict(own) for own in self.agreements],
            "survival": _rows(self.survival),
            "log_rank": _rows(self.tests),
            "mixed_models": _rows(self.mixed),
        }


def claims_of(ledgers: Sequence[Ledger], *, describe: bool = True) -> list[Claims]:
    """Return the claims of sweeps, those that differ in seeds or models alone pooled.

    Args:
        ledgers: of the sweeps.
        describe: whether to add survival curves and mixed models, which need the extra ``claims``; where it is not
            installed, a note says so.

    Raises:
        SweepError: no sweep is given, or one is given twice.
    """
    return [
        claims_of_tables(tables_of(pool), differences=pool.differences, describe=describe) for pool in pools_of(ledgers)
    ]


def claims_of_tables(
    tables: Sequence[SweepTables], *, differences: Sequence[str] = (), describe: bool = True
) -> Claims:
    """Return the claims of sweeps that are pooled, from their tables in any order of rows."""
    trajectories: list[Trajectory] = []
    examples: list[TrialExamples] = []
    for own in tables:
        found = trajectories_of(own)
        trajectories += found
        examples += examples_of(own, found)
    measures = [name for name in MEASURES if any(len(own.removed(name)[0]) for own in trajectories)]
    measure = next(iter(measures), MEASURES[0])
    whole = [own for own in trajectories if not own.of_bucket]
    of_whole = [own for own in examples if not own.trajectory.of_bucket]
    observed = _observed(whole, of_whole)
    of_buckets = _observed(
        [own for own in trajectories if own.of_bucket], [own for own in examples if own.trajectory.of_bucket]
    )
    decisions = decide(FINDINGS, measure, observed)
    described, missing = _described(trajectories, of_whole, measure) if describe else (_NOTHING, [])
    decided = {own.finding.name for own in decisions}
    return Claims(
        sweeps=[own.sweep for own in tables],
        differences=differences,
        measure=measure if measures else None,
        replicates=sorted({own.replicate for own in trajectories}),
        settings=len({own.setting_id for own in trajectories}),
        last_step=max((own.last_step for own in tables), default=0),
        decisions=decisions,
        conditions=decide_by_condition(FINDINGS, measure, observed, measures, of_buckets=of_buckets),
        unmeasured=[
            (finding, _why(finding, whole, observed[finding.name, measure]))
            for finding in FINDINGS
            if finding.name not in decided
        ],
        notes=[*_notes(tables, trajectories, measure), *missing],
        matchings=matchings(whole, of_whole, measure, tolerance=tables[0].matched_within),
        agreements=agreements(whole, of_whole),
        survival=described.survival,
        tests=described.tests,
        mixed=described.mixed,
    )


@dataclass(frozen=True, kw_only=True)
class _Described:
    """What the libraries of the extra add; None: nothing."""

    survival: Sequence[SurvivalCurve] | None = None
    tests: Sequence[CurveTest] | None = None
    mixed: Sequence[MixedModel] | None = None


_NOTHING = _Described()


def _described(
    trajectories: Sequence[Trajectory], examples: Sequence[TrialExamples], measure: str
) -> tuple[_Described, list[str]]:
    """Return what the libraries of the extra add, and what is missing where they are not installed."""
    try:
        found = _Described(
            survival=survival_curves(trajectories, measure),
            tests=curve_tests(trajectories, measure),
            mixed=mixed_models(examples, measure),
        )
    except MissingLibraryError as error:
        return _NOTHING, [str(error)]
    return found, []


def _observed(trajectories: Sequence[Trajectory], examples: Sequence[TrialExamples]) -> Observed:
    return {
        (finding.name, name): observe(finding, name, trajectories, examples)
        for finding, name in itertools.product(FINDINGS, MEASURES)
    }


def _why(finding: Finding, trajectories: Sequence[Trajectory], observed: Sequence[Observation]) -> str:
    """Return why there is no effect of a finding, and what to do."""
    reason = "exposure, or what examples were before unlearning, was not measured"
    there = {own.distribution for own in trajectories}
    if not trajectories:
        return "nothing was evaluated yet"
    if finding.needs_pair and there != {"in", "out"}:
        missing = "out-of-distribution" if "out" not in there else "in-distribution"
        return f"the sweep has no {missing} forget set to compare with"
    if finding.needs_pair and not pairs_of(trajectories):
        return "no setting was run on sets of both distributions: run a grid (search.sampler: grid)"
    if not finding.needs_pair and finding.letter == "c":
        return "the sweep has no in-distribution forget set"
    if finding.kind is not None:
        return f"not measured on both sets: {COST_KINDS[finding.kind]}"
    if observed:
        reason = "no trial tells examples apart: all are as never trained at once, or none is within the axis"
    return reason


def _notes(tables: Sequence[SweepTables], trajectories: Sequence[Trajectory], measure: str) -> list[str]:
    notes = []
    draws: dict[str, list[str]] = {}
    for own in tables:
        draws.setdefault(own.draws, []).append(own.sweep)
    notes += [
        f"{' and '.join(names)} have the same seeds of data and models: their replicates are the same ones, and count "
        f"once"
        for names in draws.values()
        if len(names) > 1
    ]
    shared = {own.data: sorted({one.sweep for one in tables if one.data == own.data}) for own in tables}
    notes += [
        f"{' and '.join(names)} have the same data.seed: their replicates have the same forget sets and canaries, and "
        f"are not independent; give each sweep a data.seed of its own"
        for names in shared.values()
        if len({own.draws for own in tables if own.sweep in names}) > 1
    ]
    for name in sorted({own.forget_set for own in trajectories}):
        known = [own for own in trajectories if own.forget_set == name and len(own.removed(measure)[0])]
        nothing = {own.replicate for own in known if math.isinf(own.removed(measure)[1][0])}
        if nothing:
            notes.append(
                f"{name}: in {len(nothing)} of {len({own.replicate for own in known})} replicates the base model's "
                f"exposure is not above that of a model that never saw it: there is nothing to unlearn"
            )
    return notes


def _rows(found: Sequence[Any] | None) -> list[dict[str, Any]] | None:
    return None if found is None else [asdict(own) for own in found]
