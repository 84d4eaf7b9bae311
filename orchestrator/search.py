"""What a sweep runs next: strata side by side, proposals into the ledger, every evaluated step back to its study."""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from orchestrator.budget import Budget
from orchestrator.drivers import driven_s
from orchestrator.errors import SweepError
from orchestrator.identity import stratum_name, trial_key
from orchestrator.ledger import BASELINES_FILE, Ledger
from orchestrator.spec import SweepSpec
from orchestrator.strata import DIVERGED_VALUES, Observation, Proposal, Stratum
from trainables.records import ENDED, EvaluationRecord, Status, Trial
from trainables.stopping import stays_ended

REPEATS_IN_A_ROW = 100
"""Proposals of a stratum, one after another, that bring nothing new: a search without a number of trials ends then."""
MOST_LOST = 10_000
"""Proposals in a row that a ledger may have lost: a number further away is of no search."""
_INFEASIBLE = frozenset({Status.DIVERGED, Status.COLLAPSED})


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A trial, and the stratum and proposal that it came from."""

    stratum: str
    proposal: Proposal
    trial: Trial


class SweepSearch:
    """What to run next. Knows the ledger and the studies, and nothing of Ray."""

    def __init__(
        self,
        spec: SweepSpec,
        ledger: Ledger,
        *,
        workload_hash: str,
        concurrent_trials: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec = spec
        self._ledger = ledger
        self._workload_hash = workload_hash
        self._forget_set_seed = {
            stratum_name(forget_set, seed): (forget_set, seed)
            for forget_set in spec.data.forget_sets
            for seed in spec.seeds
        }
        self._base_performances: dict[str, float] = {}
        """Of the base model on each forget set; read when a bound first asks for it."""
        self.strata = {
            name: Stratum(spec, name, base_performance=partial(self._base_performance, forget_set))
            for name, (forget_set, _) in self._forget_set_seed.items()
        }
        self._budget = Budget(
            spec.search.budget,
            list(self.strata),
            longest_trial=spec.steps[-1],
            gpus_per_trial=spec.resources.gpus_per_trial,
            driven_before_s=driven_s(ledger.storage, before=ledger.driver) if spec.search.budget.max_wall else 0.0,
            clock=clock,
        )
        self.run_at_once(concurrent_trials)
        self._running: dict[str, set[str]] = {name: set() for name in self.strata}
        self._unfinished: list[Assignment] = []
        """Trials to go on with: interrupted ones, ones whose worker died, ones that a longer step axis opens again."""
        self._repeats: dict[str, list[Assignment]] = {}
        """Proposals of trials that run, which wait until these have ended."""
        self._failures: Counter[str] = Counter()
        """How often each trial's worker died in this process."""
        self._repeats_in_a_row: Counter[str] = Counter()
        """By stratum: its last proposals that asked for nothing that had not been asked for."""
        self.superseded: list[str] = []
        """Unfinished trials of another model, other data or another space: new ones take their place."""
        self._lost: dict[str, list[Assignment]] = {name: [] for name in self.strata}
        """Trials whose rows the ledger lost, proposed once more."""
        self._without_row: dict[str, list[dict[str, Any]]] = {}
        """Evaluations by trial id, where the trial's own row is lost."""
        self._told: dict[str, set[int]] = {}
        """Steps of each trial that its study knows: evidence counts once, however often a trial is proposed."""
        self._reach: dict[str, int] = {}
        """The last step that each trial was asked for."""
        self.statuses: dict[str, Status] = {}
        """Of every trial that ended, by trial id."""
        self._replay()

    def run_at_once(self, concurrent_trials: int, *, gpus_per_trial: float | None = None) -> None:
        """Say how many trials run at once: they are shared out evenly among the strata; and on what of a GPU each."""
        self._at_once = -(-concurrent_trials // len(self.strata))
        if gpus_per_trial is not None:
            self._budget.share_gpus(gpus_per_trial)

    @property
    def total(self) -> int | None:
        """Trials that the whole sweep proposes, at most; None: until its budget is spent."""
        counts = [stratum.trials for stratum in self.strata.values()]
        return None if None in counts else sum(count for count in counts if count is not None)

    def is_exhausted(self) -> bool:
        """Tell whether everything was proposed that may be, and nothing that was interrupted can go on."""
        waiting = bool(self._unfinished) and not self.is_out_of_time
        return not waiting and not any(self._may_propose(name) for name in self.strata)

    @property
    def is_out_of_time(self) -> bool:
        """Whether the sweep has been driven for as long as its budget allows: its trials stop then."""
        return self._budget.is_out_of_time

    def spent_budget(self) -> list[str]:
        """Say which limits of the budget keep the sweep from going on; empty: none does."""
        kept = [name for name, stratum in self.strata.items() if not stratum.is_complete]
        return self._budget.describe(kept) if kept or self._unfinished else []

    @property
    def running(self) -> list[str]:
        """The trials that were handed out and have not ended."""
        return sorted(trial_id for running in self._running.values() for trial_id in running)

    def _may_propose(self, name: str) -> bool:
        if self._lost[name]:
            return not self.is_out_of_time
        stratum = self.strata[name]
        finds_nothing = stratum.trials is None and self._repeats_in_a_row[name] >= REPEATS_IN_A_ROW
        return not stratum.is_complete and not finds_nothing and self._budget.allows(name)

    def next(self) -> Assignment | None:
        """Give the next trial to run; None: wait for one that is running (or stop, if exhausted).

        Interrupted trials come first. Then the stratum with the fewest running trials, so that the studies, which
        know nothing of each other, each learn from as many finished trials as possible.
        """
        while not self._unfinished:
            open_strata = [
                name for name in self.strata if self._may_propose(name) and len(self._running[name]) < self._at_once
            ]
            if not open_strata:
                return None
            name = min(open_strata, key=lambda n: (len(self._running[n]), self.strata[n].proposed))
            assignment = self._lost[name].pop(0) if self._lost[name] else self._propose(name)
            trial_id = assignment.trial.trial_id
            self._note_novelty(assignment)
            if trial_id in self._running[name]:
                self._repeats.setdefault(trial_id, []).append(assignment)
            elif trial_id in self.statuses:
                self._repeat(assignment)
            else:
                self._ledger.propose(
                    assignment.trial,
                    number=assignment.proposal.number,
                    distribution=self._spec.data.forget_sets[assignment.trial.forget_set].distribution,
                    proposal=assignment.proposal.as_json(),
                )
                return self._hand_out(assignment)
        if self.is_out_of_time:
            return None
        assignment = self._unfinished.pop(0)
        self._ledger.reopen(assignment.trial)
        return self._hand_out(assignment)

    def _propose(self, name: str) -> Assignment:
        """Ask a stratum for its next trial, and tell its study what the ledger has of it already.

        A study that knows what it knew then proposes the same trial again. Its evaluations are there although its row
        is lost, and the proposals after it were made by a study that knew them.
        """
        assignment = self._assign(name, self.strata[name].propose())
        for evaluation in self._without_row.get(assignment.trial.trial_id, []):
            if evaluation["step"] in assignment.trial.steps:
                self.observe(assignment, _summary(evaluation))
        return assignment

    def _hand_out(self, assignment: Assignment) -> Assignment:
        trial_id = assignment.trial.trial_id
        self._running[assignment.stratum].add(trial_id)
        self._reach[trial_id] = assignment.trial.steps[-1]
        self._budget.open(assignment.stratum, trial_id, assignment.trial.steps[-1])
        return assignment

    def _note_novelty(self, assignment: Assignment) -> None:
        trial = assignment.trial
        is_new = trial.steps[-1] > self._reach.get(trial.trial_id, -1)
        self._repeats_in_a_row[assignment.stratum] = 0 if is_new else self._repeats_in_a_row[assignment.stratum] + 1

    def _repeat(self, assignment: Assignment) -> None:
        """Take an ended trial's being proposed once more: it goes on if it is asked to go further, and could."""
        further = self._goes_further(assignment)
        self._ledger.propose_again(assignment.trial, assignment.proposal.as_json())
        if further:
            del self.statuses[assignment.trial.trial_id]
            self._unfinished.append(assignment)
        else:
            self.strata[assignment.stratum].finish(assignment.proposal, infeasible_beyond=False)

    def observe(self, assignment: Assignment, evaluation: Mapping[str, Any]) -> None:
        """Tell the study of one committed evaluation, unless it knows."""
        self._budget.record(assignment.stratum, assignment.trial.trial_id, step=evaluation["step"])
        told = self._told.setdefault(assignment.trial.trial_id, set())
        if evaluation["step"] not in told:
            told.add(evaluation["step"])
            self.strata[assignment.stratum].observe(assignment.proposal, _observation(evaluation))

    def end(self, assignment: Assignment, status: Status) -> None:
        """Close a trial."""
        trial_id = assignment.trial.trial_id
        self._running[assignment.stratum].discard(trial_id)
        self.strata[assignment.stratum].finish(assignment.proposal, infeasible_beyond=status in _INFEASIBLE)
        if status in ENDED:
            self.statuses[trial_id] = status
            if self._budget.limits.max_gpu_hours is not None:
                elapsed_s = self._ledger.trial(trial_id)["elapsed_s"]
                self._budget.record(assignment.stratum, trial_id, elapsed_s=elapsed_s or 0.0)
            self._budget.close(trial_id)
        repeats = self._repeats.get(trial_id, [])
        while repeats and trial_id in self.statuses:  # one that goes further opens it again, and the rest wait on
            self._repeat(repeats.pop(0))

    def fail(self, assignment: Assignment, message: str) -> Status | None:
        """Take note that a trial's worker died: the trial goes on from its checkpoint, or has failed once too often.

        None: it goes on. A worker may have died after it published, and before it told anybody.
        """
        trial_id = assignment.trial.trial_id
        self._catch_up(assignment)
        status = self._ledger.trial(trial_id)["status"]
        self._failures[trial_id] += 1
        if status not in ENDED and self._failures[trial_id] <= self._spec.resources.max_failures:
            self._running[assignment.stratum].discard(trial_id)
            self._unfinished.append(assignment)
            return None
        if status not in ENDED:
            self._ledger.fail(trial_id, message)
            status = Status.FAILED
        self.end(assignment, Status(status))
        return Status(status)

    def _catch_up(self, assignment: Assignment) -> None:
        """Tell the study what is published of a trial, and was told to nobody."""
        for evaluation in self._ledger.published(assignment.trial.trial_id)[0]:
            if evaluation.step in assignment.trial.steps:
                self.observe(assignment, _summary(evaluation))

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

    def _base_performance(self, forget_set: str) -> float:
        if not self._base_performances:
            rows = [row for row in self._ledger.baselines() if row["model"] == "base"]
            self._base_performances = {row["forget_set"]: row["performance"] for row in rows}
        if forget_set not in self._base_performances:
            raise SweepError(
                f"{self._ledger.storage.uri}/{BASELINES_FILE}: says nothing of the base model on '{forget_set}', which "
                f"search.constraints.performance_increase_at_most is measured from; put the file back, or bound "
                f"performance_at_most instead (--force)"
            )
        return self._base_performances[forget_set]

    def _replay(self) -> None:
        """Rebuild every study and the account of the budget from the ledger, in order of proposal."""
        evaluations: dict[str, list[dict[str, Any]]] = {}
        columns = ["trial_id", "step", "status", "unlearning_quality", "performance", "elapsed_s"]
        for row in self._ledger.table("evaluations", columns).to_pylist():
            evaluations.setdefault(row["trial_id"], []).append(row)
        rows = self._ledger.trials()
        with_row = {row["trial_id"] for row in rows}
        self._without_row = {
            trial_id: sorted(found, key=lambda evaluation: evaluation["step"])
            for trial_id, found in evaluations.items()
            if trial_id not in with_row
        }
        trials = [row for row in rows if row["stratum"] in self.strata]
        for row in trials:
            self._budget.record(row["stratum"], row["trial_id"], elapsed_s=row["elapsed_s"] or 0.0)
            for found in evaluations.get(row["trial_id"], []):
                self._budget.record(
                    row["stratum"], row["trial_id"], step=found["step"], elapsed_s=found["elapsed_s"] or 0.0
                )
        proposals = [
            (Proposal(**stored), is_last, row)
            for row in trials
            for stored, is_last in _marking_last(json.loads(row["proposals"]))
        ]
        for proposal, is_last, row in sorted(proposals, key=lambda entry: entry[0].number):
            stratum = self.strata[row["stratum"]]
            assignment = self._assign(row["stratum"], proposal) if stratum.admits(proposal) else None
            is_far = proposal.number - stratum.next_number > MOST_LOST
            if assignment is None or assignment.trial.trial_id != row["trial_id"] or is_far:
                self._pass_over(proposal, row)
                continue
            while stratum.next_number < min(proposal.number, stratum.trials or proposal.number):
                self._lost[row["stratum"]].append(self._propose(row["stratum"]))
            self._replay_one(assignment, is_last, row, evaluations.get(row["trial_id"], []))

    def _pass_over(self, proposal: Proposal, row: Mapping[str, Any]) -> None:
        """Leave a trial of another model, other data or another space as it is: no study can learn from it.

        If it has ended its number stays taken; if not, a new trial takes its place.
        """
        if row["status"] in ENDED:
            self.strata[row["stratum"]].skip(proposal)
            self.statuses[row["trial_id"]] = Status(row["status"])
        else:
            self.superseded.append(row["trial_id"])

    def _replay_one(
        self, assignment: Assignment, is_last: bool, row: Mapping[str, Any], evaluations: list[dict[str, Any]]
    ) -> None:
        trial_id = assignment.trial.trial_id
        told = self._told.setdefault(trial_id, set())
        own = [
            evaluation
            for evaluation in sorted(evaluations, key=lambda e: e["step"])
            if evaluation["step"] in assignment.trial.steps and evaluation["step"] not in told
        ]
        told.update(evaluation["step"] for evaluation in own)
        status = Status(row["status"]) if row["status"] in ENDED else None
        if status is None and not is_last:
            status = Status.COMPLETED  # only a completed trial is asked to go further
        elif status is Status.COMPLETED and is_last and assignment.trial.steps[-1] > row["target_step"]:
            status = None  # the step axis has grown
        elif status is Status.COMPLETED and is_last and self._was_let_go(row):
            status = None  # what ended it early is no rule any more
        extended = (
            trial_id in self.statuses and self._reach[trial_id] < assignment.trial.steps[-1] <= row["target_step"]
        )
        repeated = trial_id in self.statuses and not own and not extended
        self.strata[assignment.stratum].replay(
            assignment.proposal,
            [_observation(_summary(evaluation)) for evaluation in own],
            infeasible_beyond=None if status is None else status in _INFEASIBLE and not repeated,
        )
        self._note_novelty(assignment)
        self._reach[trial_id] = max(self._reach.get(trial_id, 0), assignment.trial.steps[-1])
        if status is None:
            self._budget.open(assignment.stratum, trial_id, assignment.trial.steps[-1])
            self.statuses.pop(trial_id, None)
            self._unfinished.append(assignment)
        else:
            self.statuses[trial_id] = status

    def _was_let_go(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a trial ended before its time, by a rule that the spec has no more."""
        if row["last_step"] >= row["target_step"]:
            return False
        published, _ = self._ledger.published(row["trial_id"])
        on_axis = [evaluation for evaluation in published if evaluation.step > 0 or 0 in self._spec.steps]
        return not stays_ended(self._spec.stop, on_axis)


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
