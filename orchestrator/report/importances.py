"""How much each searched setting matters, computed by Optuna from the rows of the ledger.

PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255): a setting matters to the extent that its values among the best tenth
of the observations differ from its values among all.
"""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import optuna
import pyarrow as pa
import pyarrow.compute as pc
from optuna.distributions import IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial

from orchestrator.frontier import OBJECTIVES
from orchestrator.ledger import Ledger
from orchestrator.search import finished_trial
from orchestrator.spec import SweepSpec, on_axis, stored_spec
from search_spaces import contains, distributions

STEP = "step"
"""The dimension for the place of an observation on the step axis."""
SETTINGS_NEEDED = 4
"""Fewest distinct settings of a forget set, not counting the step, for which importances are computed."""
OBSERVATIONS_READ = 20_000
"""Evaluations of a sweep that are used; if there are more, those of every n-th trial: all would take minutes."""

_SHORT = {"learning_rate": "lr", "batch_size": "batch"}
"""Abbreviations of settings in the column ``settings``."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """The importance of one setting for one objective. The shares of an objective add up to 1."""

    forget_set: str
    setting: str
    objective: str
    share: float


def importances(ledger: Ledger) -> tuple[list[Importance], list[str]]:
    """Return importances by forget set, with seeds and replicates pooled, and sentences about what they leave out."""
    spec = stored_spec(ledger)
    evaluations = on_axis(spec, ledger.table("evaluations", ["trial_id", "forget_set", "step", *OBJECTIVES]))
    proposals = ledger.table("trials", ["trial_id", "proposals"]).to_pylist()
    points = {row["trial_id"]: json.loads(row["proposals"])[0]["point"] for row in proposals}
    points = {trial_id: point for trial_id, point in points.items() if contains(spec.space, point)}
    evaluations, foreign = _of_search(evaluations, list(points), spec)
    evaluations, notes = _thinned(evaluations)
    notes += foreign
    evaluations = evaluations.sort_by([("trial_id", "ascending"), ("step", "ascending")])
    found: list[Importance] = []
    for forget_set in spec.data.unlearned:
        own = evaluations.filter(pc.equal(evaluations["forget_set"], forget_set))
        trials = _observations(own, points, spec)
        settings = {tuple(value for name, value in trial.params.items() if name != STEP) for trial in trials}
        if len(settings) < SETTINGS_NEEDED:
            notes.append(
                f"Not computed for {forget_set}: {len(settings)} settings have results, of {SETTINGS_NEEDED} needed."
            )
        else:
            found += _importances_of(trials, forget_set)
    return found, notes


def _of_search(evaluations: pa.Table, trials: Sequence[str], spec: SweepSpec) -> tuple[pa.Table, list[str]]:
    """Return the evaluations that the present search could have proposed, and a note on the others."""
    admitted = pc.and_(
        pc.is_in(evaluations["trial_id"], pa.array(trials, pa.string())),
        pc.is_in(evaluations["step"], pa.array(spec.steps, pa.int64())),
    )
    kept = evaluations.filter(admitted)
    left_out = evaluations.num_rows - kept.num_rows
    note = f"{left_out} evaluations are not counted: the present search space or step axis does not have them."
    return kept, [note] if left_out else []


def _thinned(evaluations: pa.Table) -> tuple[pa.Table, list[str]]:
    """Return evaluations of every n-th trial by id, and a note. Ids are hashes, so the choice is fair and fixed."""
    n = -(-evaluations.num_rows // OBSERVATIONS_READ)
    if n <= 1:
        return evaluations, []
    kept = sorted(evaluations["trial_id"].unique().to_pylist())[::n]
    note = f"One trial in {n} is counted: {evaluations.num_rows} evaluations are more than {OBSERVATIONS_READ}."
    return evaluations.filter(pc.is_in(evaluations["trial_id"], pa.array(kept))), [note]


def _observations(evaluations: pa.Table, points: Mapping[str, Any], spec: SweepSpec) -> list[FrozenTrial]:
    """Return evaluations with finite objectives as finished trials of a study, whose params are point and step."""
    axis = {step: index for index, step in enumerate(spec.steps)}
    step_axis = {STEP: IntDistribution(0, len(axis) - 1)}
    spaces = {
        trial_id: distributions(spec.space, points[trial_id]) | step_axis
        for trial_id in evaluations["trial_id"].unique().to_pylist()
    }
    rows = [(row, [row[name] for name in OBJECTIVES]) for row in evaluations.to_pylist()]
    return [
        finished_trial(
            values=values,
            params={**points[row["trial_id"]], STEP: axis[row["step"]]},
            distributions=spaces[row["trial_id"]],
        )
        for row, values in rows
        if all(value is not None and math.isfinite(value) for value in values)
    ]


def _importances_of(trials: Sequence[FrozenTrial], forget_set: str) -> list[Importance]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "computes the importances to achieve low values", as intended
        study = optuna.study.create_study(directions=["minimize"] * len(OBJECTIVES))
        study.add_trials(trials)
        return [
            Importance(forget_set=forget_set, setting=_plain_name(name), objective=objective, share=share)
            for index, objective in enumerate(OBJECTIVES)
            for name, share in get_param_importances(
                study, evaluator=PedAnovaImportanceEvaluator(), target=partial(_value, index)
            ).items()
        ]


def _value(index: int, trial: FrozenTrial) -> float:
    value: float = trial.values[index]
    return value


def _plain_name(path: str) -> str:
    """Return the name of a dimension as in ``settings``: ``optimizer=sgd/learning_rate`` is ``sgd lr``."""
    *choices, name = path.split("/")
    return " ".join([*(choice.partition("=")[2] for choice in choices), _SHORT.get(name, name)])
