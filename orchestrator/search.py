"""The Tune searcher: strata side by side, proposals into the ledger, every evaluated step back to its study."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ray.tune.search import Searcher

from orchestrator.identity import stratum_name, trial_key
from orchestrator.ledger import Ledger
from orchestrator.spec import SweepSpec
from orchestrator.strata import Observation, Proposal, Stratum
from trainables.ray_single import EVALUATION, OUTCOME, TRIAL
from trainables.records import EvaluationRecord, Status
from trainables.trial import Trial

ENDED = frozenset({Status.COMPLETED, Status.DIVERGED, Status.COLLAPSED, Status.FAILED})
"""Statuses of trials that are not run again; a stopped one, and one without status, goes on."""
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
        self.statuses: dict[str, Status] = {}
        """Of every trial that ended, by trial id."""
        self._replay()

    @property
    def total(self) -> int:
        """Trials that the whole sweep proposes."""
        return sum(stratum.budget for stratum in self.strata.values())

    def is_exhausted(self) -> bool:
        """Tell whether everything was proposed, and nothing that was interrupted waits to go on."""
        return not self._unfinished and all(s.proposed >= s.budget for s in self.strata.values())

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
                name
                for name, stratum in self.strata.items()
                if stratum.proposed < stratum.budget and len(self._running[name]) < self._at_once
            ]
            if not open_strata:
                return None
            name = min(open_strata, key=lambda n: (len(self._running[n]), self.strata[n].proposed))
            proposal = self.strata[name].propose()
            assignment = self._assign(name, proposal)
            trial_id = assignment.trial.trial_id
            if trial_id in self.statuses:  # proposed again: the ledger has it already
                self._tell_from_ledger(assignment)
                continue
            if trial_id in self._running[name]:
                self.strata[name].finish(proposal, infeasible_beyond=False)
                continue
            self._ledger.propose(
                assignment.trial,
                number=proposal.number,
                distribution=self._spec.data.forget_sets[assignment.trial.forget_set].distribution,
                proposal=proposal.as_json(),
            )
            self._running[name].add(trial_id)
            return assignment

    def observe(self, assignment: Assignment, evaluation: Mapping[str, Any]) -> None:
        """Tell the study of one committed evaluation."""
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

    def _tell_from_ledger(self, assignment: Assignment) -> None:
        evaluations, _ = self._ledger.published(assignment.trial.trial_id)
        for evaluation in evaluations:
            if evaluation.step in assignment.trial.steps:
                self.observe(assignment, _summary(evaluation))
        self.end(assignment, self.statuses[assignment.trial.trial_id])

    def _replay(self) -> None:
        """Rebuild every study from the ledger, in order of proposal."""
        evaluations: dict[str, list[dict[str, Any]]] = {}
        columns = ["trial_id", "step", "status", "unlearning_quality", "performance"]
        for row in self._ledger.table("evaluations").select(columns).to_pylist():
            evaluations.setdefault(row["trial_id"], []).append(row)
        for row in self._ledger.trials():
            if row["stratum"] not in self.strata:
                continue
            stored = _stored_proposal(row)
            assignment = self._assign(row["stratum"], stored)
            status = Status(row["status"]) if row["status"] is not None else None
            ended = status in ENDED
            self.strata[row["stratum"]].replay(
                stored,
                [
                    _observation(_summary(e))
                    for e in sorted(evaluations.get(row["trial_id"], []), key=lambda e: e["step"])
                ],
                infeasible_beyond=status in _INFEASIBLE,
                ended=ended,
            )
            if status is not None and ended:
                self.statuses[row["trial_id"]] = status
            else:
                self._unfinished.append(assignment)


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
    return Observation(
        step=evaluation["step"],
        values=(evaluation["unlearning_quality"], evaluation["performance"]),
        feasible=evaluation["feasible"],
    )


def _stored_proposal(row: Mapping[str, Any]) -> Proposal:
    stored = json.loads(row["proposal"])
    return Proposal(number=row["number"], point=stored["point"], step_index=stored["step_index"], notes=stored["notes"])


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
