"""How much each searched setting matters, by Optuna, from studies rebuilt from the ledger.

PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255): a setting matters as far as its values among the best tenth of the
observations differ from those among all.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from orchestrator.frontier import OBJECTIVES
from orchestrator.identity import stratum_name
from orchestrator.ledger import Ledger
from orchestrator.samplers import STEP_INDEX
from orchestrator.search import SweepSearch
from orchestrator.spec import stored_spec

SETTINGS_NEEDED = 4
"""Distinct settings of a forget set, the step aside, below which nothing is said."""
OBSERVATIONS_READ = 20_000
"""Evaluations of a sweep above which its studies are not rebuilt: the report would take minutes."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """The share of one setting in what makes one objective good. The shares of an objective add up to 1."""

    forget_set: str
    setting: str
    objective: str
    share: float


def importances(ledger: Ledger) -> tuple[list[Importance], list[str]]:
    """Compute importances by forget set, seeds pooled, and say of which forget sets nothing can be told, and why."""
    count = ledger.table("evaluations").num_rows
    if count > OBSERVATIONS_READ:
        return [], [f"{count} evaluations are more than the {OBSERVATIONS_READ} that studies are rebuilt from"]
    spec = stored_spec(ledger)
    workload = str(ledger.manifest().get("workload_hash", ""))
    search = SweepSearch(spec, ledger, workload_hash=workload, concurrent_trials=1)
    found: list[Importance] = []
    notes = []
    for forget_set in spec.data.forget_sets:
        trials = [
            trial
            for seed in spec.seeds
            for trial in search.strata[stratum_name(forget_set, seed)].study.get_trials(deepcopy=False)
            if trial.state is TrialState.COMPLETE and all(map(math.isfinite, trial.values))
        ]
        settings = {tuple(v for name, v in trial.params.items() if name != STEP_INDEX) for trial in trials}
        if len(settings) < SETTINGS_NEEDED:
            notes.append(f"{forget_set}: {len(settings)} settings have results, of {SETTINGS_NEEDED} needed")
        else:
            found += _of(trials, forget_set)
    return found, notes


def _of(trials: Sequence[FrozenTrial], forget_set: str) -> list[Importance]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "computes the importances to achieve low values": as we want
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
    """Name a dimension for a reader: ``optimizer=sgd/learning_rate`` is ``learning_rate (sgd)``."""
    *choices, name = path.split("/")
    name = "step" if name == STEP_INDEX else name
    return f"{name} ({', '.join(choice.partition('=')[2] for choice in choices)})" if choices else name
