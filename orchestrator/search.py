"""The Tune searcher: strata side by side, proposals into the ledger, every evaluated step back to its study."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ray.tune.search import Searcher

from orchestrator.identity import stratum_name, trial_key
from orchestrator.ledger import Ledger
from orchestrator.spec import SweepSpec
from orchestrator.strata import DIVERGED_VALUES, Observation, Proposal, Stratum
from trainables.ray_single import EVALUATION, OUTCOME, TRIAL
from trainables.records import ENDED, EvaluationRecord, Status, Trial

_INFEASIBLE = frozenset({Status.DIVERGED, Status.COLLAPSED})


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A trial, and the stratum and proposal that it came from."""

    stratum: str
    proposal: Proposal
    trial: Trial


class SweepSearch:
    """What to run next. Knows the ledger and the studies, and nothing of Ray."""

    def __init__(self, spec: SweepSpec, ledger: Ledger, *, workload_hash: str, concurrent_trials: int) -> None:
        self._spec = spec
        self._ledger = ledger
        self._workload_hash = workload_hash
        self._forget_set_seed = {
            stratum_name(forget_set, seed): (forget_set, seed)
            for forget_set in spec.data.forget_sets
            for seed in spec.seeds
        }
        self.strata = {name: Stratum(spec, name) for name in self._forget_set_seed}
        self._at_once = -(-concurrent_trials // len(self.strata))
        self._running: dict[str, set[str]] = {name: set() for name in self.strata}
        self._unfinished: list[Assignment] = []
        self._lost: dict[str, list[Proposal]] = {name: [] for name in self.strata}
        """Proposals whose rows the ledger lost, asked for once more."""
        self._told: dict[str, set[int]] = {}
        """Steps of each trial that its study knows: evidence counts once, however often a trial is proposed."""
        self._reach: dict[str, int] = {}
        """The last step that each trial was asked for."""
        self.statuses: dict[str, Status] = {}
        """Of every trial that ended, by trial id."""
        self._replay()

    @property
    def total(self) -> int:
        """Trials that the whole sweep proposes."""
        return sum(stratum.budget for stratum in self.strata.values())

    def is_exhausted(self) -> bool:
        """Tell whether everything was proposed, and nothing that was interrupted waits to go on."""
        return not self._unfinished and not any(self._may_propose(name) for name in self.strata)

    def _may_propose(self, name: str) -> bool:
        return bool(self._lost[name]) or self.strata[name].proposed < self.strata[name].budget

    def next(self) -> Assignment | None:
        """Give the next trial to run; None: wait for one that is running (or stop, if exhausted).

        Interrupted trials come first. Then the stratum with the fewest running trials, so that the studies, which
        know nothing of each other, each learn from as many finished trials as possible.
        """
        if self._unfinished:
            assignment = self._unfinished.pop(0)
            self._running[assignment.stratum].add(assignment.trial.trial_id)
            return assignment
        while True:
            open_strata = [
                name for name in self.strata if self._may_propose(name) and len(self._running[name]) < self._at_once
            ]
            if not open_strata:
                return None
            name = min(open_strata, key=lambda n: (len(self._running[n]), self.strata[n].proposed))
            proposal = self._lost[name].pop(0) if self._lost[name] else self.strata[name].propose()
            assignment = self._assign(name, proposal)
            trial_id = assignment.trial.trial_id
            again = trial_id in self.statuses or trial_id in self._running[name]
            if again and not self._goes_further(assignment):
                if trial_id in self.statuses:
                    self._ledger.propose_again(assignment.trial, proposal.as_json())
                self.strata[name].finish(proposal, infeasible_beyond=False)
                continue
            if again:
                self._ledger.propose_again(assignment.trial, proposal.as_json())
                del self.statuses[trial_id]
            else:
                self._ledger.propose(
                    assignment.trial,
                    number=proposal.number,
                    distribution=self._spec.data.forget_sets[assignment.trial.forget_set].distribution,
                    proposal=proposal.as_json(),
                )
            self._running[name].add(trial_id)
            self._reach[trial_id] = assignment.trial.steps[-1]
            return assignment

    def observe(self, assignment: Assignment, evaluation: Mapping[str, Any]) -> None:
        """Tell the study of one committed evaluation, unless it knows."""
        told = self._told.setdefault(assignment.trial.trial_id, set())
        if evaluation["step"] not in told:
            told.add(evaluation["step"])
            self.strata[assignment.stratum].observe(assignment.proposal, _observation(evaluation))

    def end(self, assignment: Assignment, status: Status) -> None:
        """Close a trial."""
        self._running[assignment.stratum].discard(assignment.trial.trial_id)
        self.strata[assignment.stratum].finish(assignment.proposal, infeasible_beyond=status in _INFEASIBLE)
        if status in ENDED:
            self.statuses[assignment.trial.trial_id] = status

    def _assign(self, stratum: str, proposal: Proposal) -> Assignment:
        config, steps, horizon = self.strata[stratum].config_of(proposal)
        forget_set, seed = self._forget_set_seed[stratum]
        trial = Trial(trial_id="", forget_set=forget_set, seed=seed, config=config, steps=steps, horizon=horizon)
        trial_id = trial_key(trial, workload_hash=self._workload_hash)
        return Assignment(stratum=stratum, proposal=proposal, trial=replace(trial, trial_id=trial_id))

    def _goes_further(self, assignment: Assignment) -> bool:
        """Tell whether an ended trial is asked for more steps than it has, and could take them."""
        trial_id = assignment.trial.trial_id
        return self.statuses.get(trial_id) is Status.COMPLETED and assignment.trial.steps[-1] > self._reach[trial_id]

    def _replay(self) -> None:
        """Rebuild every study from the ledger, in order of proposal."""
        evaluations: dict[str, list[dict[str, Any]]] = {}
        columns = ["trial_id", "step", "status", "unlearning_quality", "performance"]
        for row in self._ledger.table("evaluations").select(columns).to_pylist():
            evaluations.setdefault(row["trial_id"], []).append(row)
        proposals = [
            (Proposal(**stored), is_last, row)
            for row in self._ledger.trials()
            if row["stratum"] in self.strata
            for stored, is_last in _marking_last(json.loads(row["proposals"]))
        ]
        for proposal, is_last, row in sorted(proposals, key=lambda entry: entry[0].number):
            trial_id = row["trial_id"]
            stratum = self.strata[row["stratum"]]
            while stratum.next_number < proposal.number:
                self._lost[row["stratum"]].append(stratum.propose())
            assignment = self._assign(row["stratum"], proposal)
            told = self._told.setdefault(trial_id, set())
            own = [
                evaluation
                for evaluation in sorted(evaluations.get(trial_id, []), key=lambda e: e["step"])
                if evaluation["step"] in assignment.trial.steps and evaluation["step"] not in told
            ]
            told.update(evaluation["step"] for evaluation in own)
            status = Status(row["status"]) if row["status"] in ENDED else None
            if status is None and not is_last:
                status = Status.COMPLETED  # only a completed trial is asked to go further
            repeated = trial_id in self.statuses and not own
            stratum.replay(
                proposal,
                [_observation(_summary(evaluation)) for evaluation in own],
                infeasible_beyond=None if status is None else status in _INFEASIBLE and not repeated,
            )
            self._reach[trial_id] = max(self._reach.get(trial_id, 0), assignment.trial.steps[-1])
            if status is None:
                self.statuses.pop(trial_id, None)
                self._unfinished.append(assignment)
            else:
                self.statuses[trial_id] = status


def _marking_last(proposals: list[dict[str, Any]]) -> list[tuple[dict[str, Any], bool]]:
    return [(proposal, index == len(proposals) - 1) for index, proposal in enumerate(proposals)]


def _summary(evaluation: EvaluationRecord | dict[str, Any]) -> dict[str, Any]:
    """Give what a study needs of an evaluation, a record or a row of the ledger."""
    row = evaluation if isinstance(evaluation, dict) else vars(evaluation)
    return {
        "step": row["step"],
        "unlearning_quality": row["unlearning_quality"],
        "performance": row["performance"],
        "feasible": row["status"] == Status.COMPLETED,
    }


def _observation(evaluation: Mapping[str, Any]) -> Observation:
    values = (evaluation["unlearning_quality"], evaluation["performance"])
    finite = all(value is not None and math.isfinite(value) for value in values)
    return Observation(
        step=evaluation["step"],
        values=values if finite else DIVERGED_VALUES,
        feasible=evaluation["feasible"] and finite,
    )


class TuneSearcher(Searcher):  # type: ignore[misc]  # Ray is not typed
    """Lets Ray Tune ask ``SweepSearch`` and tells it what Tune heard."""

    def __init__(self, search: SweepSearch) -> None:
        super().__init__()
        self._search = search
        self._assignments: dict[str, Assignment] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Give Tune a config, nothing for now, or the end."""
        assignment = self._search.next()
        if assignment is None:
            return Searcher.FINISHED if self._search.is_exhausted() else None
        self._assignments[trial_id] = assignment
        return {TRIAL: assignment.trial}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass an evaluation on. Tune flattens results."""
        evaluation = {
            key.removeprefix(f"{EVALUATION}/"): v for key, v in result.items() if key.startswith(f"{EVALUATION}/")
        }
        if evaluation:
            self._search.observe(self._assignments[trial_id], evaluation)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Close a trial: with its last result, or as failed, or as stopped where Tune gives no result."""
        status = Status.FAILED if error else Status.STOPPED
        if result and OUTCOME in result:
            self.on_trial_result(trial_id, result)
            status = Status(result[OUTCOME])
        self._search.end(self._assignments.pop(trial_id), status)

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the search is rebuilt from the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing: the search is rebuilt from the ledger."""
