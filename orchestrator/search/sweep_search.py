"""What a sweep runs next: studies side by side, proposals into the ledger, every evaluated step back to its study.

A study proposes settings for the seeds of a forget set: for all of them (``search.across: seeds``), or for one, where
every stratum has a study of its own (``each``). A proposal makes one trial for each of its seeds.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from orchestrator.driver import driven_s
from orchestrator.errors import SweepError
from orchestrator.identity import canonical_json, stratum_name, trial_key
from orchestrator.ledger import BASELINES_FILE, DriverWriter, Ledger
from orchestrator.search.budget import Budget
from orchestrator.search.replicates import Replicates
from orchestrator.search.strata import DIVERGED_VALUES, Observation, Proposal, Stratum
from orchestrator.spec import SweepSpec
from trainables.records import ENDED, EvaluationRecord, Status, Trial
from trainables.trial import stays_ended

REPEATS_IN_A_ROW = 100
"""Proposals of a study, one after another, that bring nothing new: a search without a number of trials ends then."""
MOST_LOST = 10_000
"""Proposals in a row that a ledger may have lost: a number further away is of no search."""
_INFEASIBLE = frozenset({Status.DIVERGED, Status.COLLAPSED})


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A trial, and the study and proposal that it came from."""

    study: str
    proposal: Proposal
    trial: Trial
    setting: str
    """What the trials of a proposal share: the trial's identity without its seed."""

    @property
    def stratum(self) -> str:
        """Of the trial."""
        return stratum_name(self.trial.forget_set, self.trial.seed)


@dataclass(frozen=True, kw_only=True)
class StudyPart:
    """What one study searches: the strata of a forget set, or one of them."""

    forget_set: str
    seeds: tuple[int, ...]

    @property
    def strata(self) -> list[str]:
        """Their names."""
        return [stratum_name(self.forget_set, seed) for seed in self.seeds]


def studies_of(spec: SweepSpec) -> dict[str, StudyPart]:
    """Return the studies of a sweep by name: one for each forget set, or one for each stratum (``search.across``)."""
    if spec.search.across == "seeds":
        return {name: StudyPart(forget_set=name, seeds=spec.seeds) for name in spec.data.forget_sets}
    return {
        stratum_name(name, seed): StudyPart(forget_set=name, seeds=(seed,))
        for name in spec.data.forget_sets
        for seed in spec.seeds
    }


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
        self._writer = DriverWriter(ledger)
        self._workload_hash = workload_hash
        self._parts = studies_of(spec)
        self._study_of = {
            stratum_name(part.forget_set, seed): name for name, part in self._parts.items() for seed in part.seeds
        }
        """Studies by stratum."""
        self._base_performances: dict[str, float] = {}
        """Of the base model on each forget set; read when a bound first asks for it."""
        self.studies = {
            name: Stratum(spec, name, base_performance=partial(self._base_performance, part.forget_set))
            for name, part in self._parts.items()
        }
        self._budget = Budget(
            spec.search.budget,
            list(self._study_of),
            longest_trial=spec.steps[-1],
            gpus_per_trial=spec.resources.gpus_per_trial,
            driven_before_s=driven_s(ledger.storage, before=ledger.driver) if spec.search.budget.max_wall else 0.0,
            clock=clock,
        )
        self.run_at_once(concurrent_trials)
        self._running: dict[str, set[str]] = {name: set() for name in self.studies}
        self._unfinished: list[Assignment] = []
        """Trials to go on with: interrupted ones, ones whose worker died, ones that a longer step axis opens again."""
        self._repeats: dict[str, list[Assignment]] = {}
        """Proposals of trials that run, which wait until these have ended."""
        self._failures: Counter[str] = Counter()
        """How often each trial's worker died in this process."""
        self._repeats_in_a_row: Counter[str] = Counter()
        """By study: its last proposals that asked for nothing that had not been asked for."""
        self.superseded: list[str] = []
        """Unfinished trials of another model, other data or another space: new ones take their place."""
        self._waiting: dict[str, list[Assignment]] = {name: [] for name in self.studies}
        """By study: trials that were proposed and not handed out. Their seeds' turn has not come, or the ledger lost
        their rows, or their seed is new to the sweep."""
        self._without_row: dict[str, list[dict[str, Any]]] = {}
        """Evaluations by trial id, where the trial's own row is lost."""
        self._replicates: dict[str, Replicates] = {}
        """By setting: what its seeds have shown, and its study knows of."""
        self._closed: dict[tuple[str, int], dict[int, bool]] = {}
        """By study and number of a proposal: the seeds of it that have ended, and whether beyond a bound."""
        self._reach: dict[str, int] = {}
        """The last step that each trial was asked for."""
        self.statuses: dict[str, Status] = {}
        """Of every trial that ended, by trial id."""
        self._replay()

    def run_at_once(self, concurrent_trials: int, *, gpus_per_trial: float | None = None) -> None:
        """Say how many trials run at once: they are shared out evenly among the studies; and on what of a GPU each."""
        self._at_once = -(-concurrent_trials // len(self.studies))
        if gpus_per_trial is not None:
            self._budget.share_gpus(gpus_per_trial)

    @property
    def total(self) -> int | None:
        """Trials that the whole sweep proposes, at most; None: until its budget is spent."""
        counts = [(study.trials, len(self._parts[name].seeds)) for name, study in self.studies.items()]
        return sum(count * seeds for count, seeds in counts if count is not None) if all(c for c, _ in counts) else None

    @property
    def has_trials(self) -> bool:
        """Whether any trial was proposed, in this run or an earlier one."""
        return bool(self.statuses or self._reach or self.superseded)

    def is_exhausted(self) -> bool:
        """Tell whether everything was proposed that may be, and nothing that was interrupted can go on."""
        waiting = bool(self._unfinished) and not self.is_out_of_time
        return not waiting and not any(self._may_propose(name) for name in self.studies)

    @property
    def is_out_of_time(self) -> bool:
        """Whether the sweep has been driven for as long as its budget allows: its trials stop then."""
        return self._budget.is_out_of_time

    def spent_budget(self) -> list[str]:
        """Say which limits of the budget keep the sweep from going on; empty: none does."""
        open_studies = {
            name
            for name, study in self.studies.items()
            if not study.is_complete or (self._waiting[name] and self._next_waiting(name) is None)
        }
        kept = [stratum for stratum, name in self._study_of.items() if name in open_studies]
        return self._budget.describe(kept) if kept or self._unfinished else []

    @property
    def running(self) -> list[str]:
        """The trials that were handed out and have not ended."""
        return sorted(trial_id for running in self._running.values() for trial_id in running)

    def _may_propose(self, name: str) -> bool:
        """Tell whether a study has a trial that waits and may run, or may propose one more setting for its seeds."""
        if self._waiting[name]:
            return self._next_waiting(name) is not None
        study, part = self.studies[name], self._parts[name]
        finds_nothing = study.trials is None and self._repeats_in_a_row[name] >= REPEATS_IN_A_ROW
        return not study.is_complete and not finds_nothing and self._budget.allows(part.strata)

    def _next_waiting(self, name: str) -> Assignment | None:
        """Return the first of a study's waiting trials that may run; None: there is none.

        The seeds of a proposal were counted together when it was made. A seed that is new to the sweep was not, nor
        was a trial whose row is lost: the budget must have room for it.
        """
        if self.is_out_of_time:
            return None
        has_room: dict[str, bool] = {}
        for assignment in self._waiting[name]:
            stratum, trial_id = assignment.stratum, assignment.trial.trial_id
            is_known = trial_id in self.statuses or trial_id in self._running[name]
            if is_known or self._budget.counts(stratum, trial_id):
                return assignment
            if stratum not in has_room:
                has_room[stratum] = self._budget.allows([stratum])
            if has_room[stratum]:
                return assignment
        return None

    def next(self) -> Assignment | None:
        """Give the next trial to run; None: wait for one that is running (or stop, if exhausted).

        Interrupted trials come first. Then the study with the fewest running trials, so that the studies, which
        know nothing of each other, each learn from as many finished trials as possible.
        """
        while not self._unfinished:
            open_studies = [
                name for name in self.studies if self._may_propose(name) and len(self._running[name]) < self._at_once
            ]
            if not open_studies:
                return None
            name = min(open_studies, key=lambda n: (len(self._running[n]), self.studies[n].proposed))
            if not self._waiting[name]:
                self._propose(name)
                self._commit_budget(self._waiting[name])
            assignment = self._next_waiting(name)
            if assignment is None:
                return None  # the time ran out meanwhile
            self._waiting[name].remove(assignment)
            trial_id = assignment.trial.trial_id
            self._note_novelty(assignment)
            if trial_id in self._running[name]:
                self._repeats.setdefault(trial_id, []).append(assignment)
            elif trial_id in self.statuses:
                self._repeat(assignment)
            else:
                self._writer.propose(
                    assignment.trial,
                    number=assignment.proposal.number,
                    distribution=self._spec.data.forget_sets[assignment.trial.forget_set].distribution,
                    proposal=assignment.proposal.as_json(),
                )
                return self._hand_out(assignment)
        if self.is_out_of_time:
            return None
        assignment = self._unfinished.pop(0)
        self._writer.reopen(assignment.trial)
        return self._hand_out(assignment)

    def _propose(self, name: str) -> None:
        """Ask a study for its next setting; the trials of it wait, and the study is told what the ledger has of them.

        A study that knows what it knew then proposes the same trials again. Their evaluations are there although their
        rows are lost, and the proposals after them were made by a study that knew them.
        """
        proposal = self.studies[name].propose()
        for seed in self._parts[name].seeds:
            self._await(self._assign(name, proposal, seed))

    def _await(self, assignment: Assignment) -> None:
        """Have a trial wait for its turn, and tell its study what the ledger has of it, where its row is lost."""
        self._waiting[assignment.study].append(assignment)
        for evaluation in self._without_row.get(assignment.trial.trial_id, []):
            if evaluation["step"] in assignment.trial.steps:
                self.observe(assignment, _summary(evaluation))

    def _commit_budget(self, assignments: Sequence[Assignment]) -> None:
        """Note the cost of trials that will run, before other studies propose from what is left."""
        for assignment in assignments:
            trial_id = assignment.trial.trial_id
            if trial_id not in self.statuses and trial_id not in self._running[assignment.study]:
                self._budget.open(assignment.stratum, trial_id, assignment.trial.steps[-1])

    def _hand_out(self, assignment: Assignment) -> Assignment:
        trial_id = assignment.trial.trial_id
        self._running[assignment.study].add(trial_id)
        self._reach[trial_id] = assignment.trial.steps[-1]
        self._budget.open(assignment.stratum, trial_id, assignment.trial.steps[-1])
        return assignment

    def _note_novelty(self, assignment: Assignment) -> None:
        """Count proposals that bring nothing new; one is told by the first of its seeds."""
        trial, name = assignment.trial, assignment.study
        if trial.seed == self._parts[name].seeds[0]:
            is_new = trial.steps[-1] > self._reach.get(trial.trial_id, -1)
            self._repeats_in_a_row[name] = 0 if is_new else self._repeats_in_a_row[name] + 1

    def _repeat(self, assignment: Assignment) -> None:
        """Take an ended trial's being proposed once more: it goes on if it is asked to go further, and could."""
        further = self._goes_further(assignment)
        self._writer.propose_again(assignment.trial, assignment.proposal.as_json())
        if further:
            del self.statuses[assignment.trial.trial_id]
            self._unfinished.append(assignment)
        else:
            self._close(assignment, infeasible=False)

    def observe(self, assignment: Assignment, evaluation: Mapping[str, Any]) -> None:
        """Note one committed evaluation; its study is told of the step once all its seeds were evaluated there."""
        self._budget.record(assignment.stratum, assignment.trial.trial_id, step=evaluation["step"])
        complete = self._of(assignment).add(assignment.trial.seed, _observation(evaluation))
        if complete is not None:
            self.studies[assignment.study].observe(assignment.proposal, complete)

    def _of(self, assignment: Assignment) -> Replicates:
        seeds = self._parts[assignment.study].seeds
        return self._replicates.setdefault(assignment.setting, Replicates(seeds))

    def _close(self, assignment: Assignment, *, infeasible: bool) -> None:
        """Note that a seed of a proposal has ended; with the last of them the proposal has."""
        key = (assignment.study, assignment.proposal.number)
        closed = self._closed.setdefault(key, {})
        closed[assignment.trial.seed] = infeasible
        if len(closed) == len(self._parts[assignment.study].seeds):
            del self._closed[key]
            self.studies[assignment.study].finish(assignment.proposal, infeasible_beyond=any(closed.values()))

    def end(self, assignment: Assignment, status: Status) -> None:
        """Close a trial."""
        trial_id = assignment.trial.trial_id
        self._running[assignment.study].discard(trial_id)
        self._close(assignment, infeasible=status in _INFEASIBLE)
        if status in ENDED:
            self.statuses[trial_id] = status
            if self._budget.limits.max_gpu_hours is not None:
                elapsed_s = self._ledger.trial(trial_id)["elapsed_s"]
                self._budget.record(assignment.stratum, trial_id, elapsed_s=elapsed_s or 0.0)
            self._budget.close(assignment.stratum, trial_id)
        repeats = self._repeats.get(trial_id, [])
        while repeats and trial_id in self.statuses:  # one that goes further opens it again, and the rest wait on
            self._repeat(repeats.pop(0))

    def fail(self, assignment: Assignment, message: str, *, may_retry: bool = True) -> Status | None:
        """Take note that a trial failed: it goes on from its checkpoint, unless it has failed too often, or may not.

        None: it goes on. A worker may have died after it published, and before it told anybody.
        """
        trial_id = assignment.trial.trial_id
        self._catch_up(assignment)
        status = self._ledger.trial(trial_id)["status"]
        self._failures[trial_id] += 1
        if status not in ENDED and may_retry and self._failures[trial_id] <= self._spec.resources.max_failures:
            self._running[assignment.study].discard(trial_id)
            self._unfinished.append(assignment)
            return None
        if status not in ENDED:
            self._writer.fail(trial_id, message)
            status = Status.FAILED
        self.end(assignment, Status(status))
        return Status(status)

    def _catch_up(self, assignment: Assignment) -> None:
        """Tell the study what is published of a trial, and was told to nobody."""
        for evaluation in self._ledger.published(assignment.trial.trial_id)[0]:
            if evaluation.step in assignment.trial.steps:
                self.observe(assignment, _summary(evaluation))

    def _assign(self, name: str, proposal: Proposal, seed: int) -> Assignment:
        """Make the trial of a proposal for one of its study's seeds."""
        config, steps, horizon = self.studies[name].config_of(proposal)
        forget_set = self._parts[name].forget_set
        trial = Trial(trial_id="", forget_set=forget_set, seed=seed, config=config, steps=steps, horizon=horizon)
        key = partial(trial_key, workload_hash=self._workload_hash)
        first = replace(trial, seed=self._parts[name].seeds[0])
        return Assignment(study=name, proposal=proposal, trial=replace(trial, trial_id=key(trial)), setting=key(first))

    def _goes_further(self, assignment: Assignment) -> bool:
        """Tell whether an ended trial is asked for more steps than it has, and could take them."""
        trial_id = assignment.trial.trial_id
        return self.statuses.get(trial_id) is Status.COMPLETED and assignment.trial.steps[-1] > self._reach[trial_id]

    def _base_performance(self, forget_set: str) -> float:
        if not self._base_performances:
            baselines = self._ledger.baselines()
            bases = {name: baselines.base(name) for name in self._spec.data.forget_sets}
            self._base_performances = {name: row["performance"] for name, row in bases.items() if row is not None}
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
        trials = [row for row in rows if row["stratum"] in self._study_of]
        for row in trials:
            self._budget.record(row["stratum"], row["trial_id"], elapsed_s=row["elapsed_s"] or 0.0)
            for found in evaluations.get(row["trial_id"], []):
                self._budget.record(
                    row["stratum"], row["trial_id"], step=found["step"], elapsed_s=found["elapsed_s"] or 0.0
                )
        proposals = sorted(
            (
                _Stored(proposal=Proposal(**stored), is_last=is_last, row=row)
                for row in trials
                for stored, is_last in _marking_last(json.loads(row["proposals"]))
            ),
            key=lambda stored: stored.proposal.number,
        )
        together: dict[tuple[int, str, str], list[_Stored]] = {}
        for stored in proposals:
            name, proposal = self._study_of[stored.row["stratum"]], stored.proposal
            point = canonical_json([proposal.point, proposal.step_index])
            together.setdefault((proposal.number, name, point), []).append(stored)
        for (number, name, _), trials_of_one in together.items():
            study = self.studies[name]
            known: dict[int, tuple[Assignment, _Stored]] = {}
            for stored in trials_of_one:
                seed = stored.row["seed"]
                assignment = self._assign(name, stored.proposal, seed) if study.admits(stored.proposal) else None
                is_far = number - study.next_number > MOST_LOST
                if assignment is None or assignment.trial.trial_id != stored.row["trial_id"] or is_far:
                    self._pass_over(stored.proposal, stored.row)
                else:
                    known[seed] = assignment, stored
            if known:
                while study.next_number < min(number, study.trials or number):
                    self._propose(name)
                self._replay_one(name, known, evaluations)

    def _pass_over(self, proposal: Proposal, row: Mapping[str, Any]) -> None:
        """Leave a trial of another model, other data or another space as it is: no study can learn from it.

        If it has ended its number stays taken; if not, a new trial takes its place.
        """
        if row["status"] in ENDED:
            self.studies[self._study_of[row["stratum"]]].skip(proposal)
            self.statuses[row["trial_id"]] = Status(row["status"])
        else:
            self.superseded.append(row["trial_id"])

    def _replay_one(
        self,
        name: str,
        known: Mapping[int, tuple[Assignment, "_Stored"]],
        evaluations: Mapping[str, list[dict[str, Any]]],
    ) -> None:
        """Put a proposal back, with what its seeds have shown. A seed that the ledger has no trial of will run.

        Args:
            name: of the study.
            known: the proposal's trials, by seed; one at least.
            evaluations: rows of the ledger, by trial id.
        """
        proposal = next(iter(known.values()))[0].proposal
        told: list[Observation] = []
        ended: dict[int, bool] = {}
        for seed in self._parts[name].seeds:
            if seed in known:
                assignment, stored = known[seed]
                found, infeasible = self._replay_trial(
                    assignment, stored, evaluations.get(assignment.trial.trial_id, [])
                )
                if infeasible is not None:
                    ended[seed] = infeasible
            else:
                assignment = self._assign(name, proposal, seed)
                self._waiting[name].append(assignment)
                found = self._take_in(assignment, self._without_row.get(assignment.trial.trial_id, []))[1]
            told += found
        is_open = len(ended) < len(self._parts[name].seeds)
        if is_open:
            self._closed[name, proposal.number] = ended
        self.studies[name].replay(
            proposal,
            sorted(told, key=lambda observation: observation.step),
            infeasible_beyond=None if is_open else any(ended.values()),
        )

    def _take_in(self, assignment: Assignment, evaluations: Sequence[dict[str, Any]]) -> tuple[bool, list[Observation]]:
        """Note a trial's evaluations in the ledger; return whether any was new, and the means that they complete."""
        replicates, seed = self._of(assignment), assignment.trial.seed
        own = [
            evaluation
            for evaluation in sorted(evaluations, key=lambda e: e["step"])
            if evaluation["step"] in assignment.trial.steps and not replicates.knows(seed, evaluation["step"])
        ]
        means = [replicates.add(seed, _observation(_summary(evaluation))) for evaluation in own]
        return bool(own), [mean for mean in means if mean is not None]

    def _replay_trial(
        self, assignment: Assignment, stored: "_Stored", evaluations: Sequence[dict[str, Any]]
    ) -> tuple[list[Observation], bool | None]:
        """Put one trial back. Return what its study is to be told, and whether it ended beyond a bound; None: it goes
        on."""
        trial_id, row = assignment.trial.trial_id, stored.row
        has_news, means = self._take_in(assignment, evaluations)
        status = Status(row["status"]) if row["status"] in ENDED else None
        if status is None and not stored.is_last:
            status = Status.COMPLETED  # only a completed trial is asked to go further
        elif status is Status.COMPLETED and stored.is_last and assignment.trial.steps[-1] > row["target_step"]:
            status = None  # the step axis has grown
        elif status is Status.COMPLETED and stored.is_last and self._was_let_go(row):
            status = None  # what ended it early is no rule any more
        extended = (
            trial_id in self.statuses and self._reach[trial_id] < assignment.trial.steps[-1] <= row["target_step"]
        )
        repeated = trial_id in self.statuses and not has_news and not extended
        self._note_novelty(assignment)
        self._reach[trial_id] = max(self._reach.get(trial_id, 0), assignment.trial.steps[-1])
        if status is None:
            self._budget.open(assignment.stratum, trial_id, assignment.trial.steps[-1])
            self.statuses.pop(trial_id, None)
            self._unfinished.append(assignment)
            return means, None
        self.statuses[trial_id] = status
        return means, status in _INFEASIBLE and not repeated

    def _was_let_go(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a trial ended before its time, by a rule that the spec has no more."""
        if row["last_step"] >= row["target_step"]:
            return False
        published, _ = self._ledger.published(row["trial_id"])
        on_axis = [evaluation for evaluation in published if evaluation.step > 0 or 0 in self._spec.steps]
        return not stays_ended(self._spec.stop, on_axis)


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """A proposal as the ledger keeps it, with the trial that was made of it for one seed."""

    proposal: Proposal
    is_last: bool
    """Whether the trial was proposed no more after it."""
    row: Mapping[str, Any]


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
