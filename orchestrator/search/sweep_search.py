"""What a sweep runs next: studies side by side, proposals into the ledger, every evaluated step back to its study.

A study proposes settings for strata of a forget set: for all of them (``search.across: replicates``), for those of one
replicate (``seeds``), or for one (``each``). A proposal makes one trial in each of its strata.
"""

import time
from collections.abc import Callable, Sequence

from orchestrator.driver import driven_s
from orchestrator.ledger import DriverWriter, Ledger
from orchestrator.search.assignments import Assignment
from orchestrator.search.base_performances import BasePerformances
from orchestrator.search.budget import Budget
from orchestrator.search.replay import INFEASIBLE, replay
from orchestrator.search.search_state import SearchState
from orchestrator.search.study_members import study_parts
from orchestrator.search.study_queues import StudyQueue
from orchestrator.search.study_search import StudySearch
from orchestrator.spec import BLIND, SweepSpec
from trainables.records import ENDED, Observation, Status


class SweepSearch:
    """Schedules the trials of all studies. Knows the ledger and the studies, and nothing of Ray."""

    def __init__(
        self,
        spec: SweepSpec,
        ledger: Ledger,
        *,
        workload_hashes: Sequence[str],
        concurrent_trials: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Rebuild the search from the ledger.

        Args:
            spec: the sweep.
            ledger: of the sweep; new trials are recorded there.
            workload_hashes: of the data and the models of each replicate.
            concurrent_trials: see ``run_at_once``.
            clock: returns seconds that only grow, for ``search.budget.max_wall``.
        """
        self._spec = spec
        self._ledger = ledger
        self._writer = DriverWriter(ledger)
        self._budget = Budget(
            spec.search.budget,
            [stratum for part in study_parts(spec) for stratum in part.strata],
            longest_trial=spec.steps[-1],
            gpus_per_trial=spec.resources.gpus_per_trial,
            driven_before_s=driven_s(ledger.storage, before=ledger.driver) if spec.search.budget.max_wall else 0.0,
            clock=clock,
        )
        self._state = SearchState(
            spec, workload_hashes=workload_hashes, base_performance=BasePerformances(ledger), budget=self._budget
        )
        self._queues = self._state.queues
        self.run_at_once(concurrent_trials)
        replay(self._state, spec, ledger)

    def run_at_once(self, concurrent_trials: int, *, gpus_per_trial: float | None = None) -> None:
        """Set how many trials run at once, and what each takes of a GPU.

        Studies share them evenly, one each at least. Those that have ended leave their share to the others; but with no
        more trials at once than studies each has one at a time, proposed from the results of all before it. Where no
        result changes what is proposed, or how far that goes, any study takes what is free.
        """
        self._concurrent_trials = concurrent_trials
        if gpus_per_trial is not None:
            self._budget.share_gpus(gpus_per_trial)

    @property
    def studies(self) -> dict[str, StudySearch]:
        """The studies by name."""
        return {name: queue.study for name, queue in self._queues.items()}

    @property
    def statuses(self) -> dict[str, Status]:
        """How every trial that ended has ended, by trial id."""
        trials = self._state.trials.items()
        return {trial_id: trial.status for trial_id, trial in trials if trial.status is not None}

    @property
    def superseded(self) -> list[str]:
        """Ids of unfinished trials of another model, other data or another space: new ones take their place."""
        return self._state.superseded

    @property
    def running(self) -> list[str]:
        """Ids of the trials that were handed out and have not ended."""
        return sorted(trial_id for queue in self._queues.values() for trial_id in queue.running)

    @property
    def total(self) -> int | None:
        """Trials that the whole sweep proposes, at most; None: until its budget is spent."""
        total = 0
        for queue in self._queues.values():
            if queue.study.trials is None:
                return None
            total += queue.study.trials * len(queue.part.members)
        return total

    @property
    def has_trials(self) -> bool:
        """Whether any trial was proposed, in this run or an earlier one."""
        known = self._state.trials.values()
        was_proposed = any(trial.target_step is not None or trial.status is not None for trial in known)
        return was_proposed or bool(self.superseded)

    @property
    def is_out_of_time(self) -> bool:
        """Whether the sweep has been driven for as long as its budget allows: its trials stop then."""
        return self._budget.is_out_of_time

    def is_exhausted(self) -> bool:
        """Return whether everything was proposed that may be, and nothing that was interrupted can go on."""
        can_go_on = bool(self._state.unfinished) and not self.is_out_of_time
        return not can_go_on and not any(map(self._may_hand_out, self._queues.values()))

    def spent_budget(self) -> list[str]:
        """Return which limits of the budget keep the sweep from going on, in sentences; empty: none does."""
        kept = [
            stratum
            for queue in self._queues.values()
            if not queue.study.is_complete or (queue.waiting and self._next_waiting(queue) is None)
            for stratum in queue.part.strata
        ]
        return self._budget.describe(kept) if kept or self._state.unfinished else []

    def next(self) -> Assignment | None:
        """Return the next trial to run; None: wait for one that is running (or stop, if exhausted).

        Interrupted trials come first. Then the study with the fewest running trials, so that the studies, which
        know nothing of each other, each learn from as many finished trials as possible.
        """
        while not self._state.unfinished:
            assignment = self._take_waiting()
            if assignment is None:
                return None
            if self._begin(assignment):
                return self._hand_out(assignment)
        if self.is_out_of_time:
            return None
        assignment = self._state.unfinished.popleft()
        self._writer.reopen(assignment.trial)
        return self._hand_out(assignment)

    def _take_waiting(self) -> Assignment | None:
        """Return the next trial of the least busy study, which proposes if none of its trials waits; None: no study
        may go on."""
        open_queues = self._open_queues()
        if not open_queues:
            return None
        queue = min(open_queues, key=lambda queue: (len(queue.running), queue.study.proposed))
        if not queue.waiting:
            self._state.propose(queue)
            self._commit_budget(queue)
        assignment = self._next_waiting(queue)
        if assignment is not None:  # else the time has run out meanwhile
            queue.waiting.remove(assignment)
        return assignment

    def _open_queues(self) -> list[StudyQueue]:
        """Return the studies that may have one more trial running: see ``run_at_once``."""
        may_go_on = {name: queue for name, queue in self._queues.items() if self._may_hand_out(queue)}
        running = {name: len(queue.running) for name, queue in self._queues.items() if queue.running}
        if self._spec.search.sampler in BLIND and self._spec.stop.halving is None:
            is_room = sum(running.values()) < max(self._concurrent_trials, len(self._queues))
            return list(may_go_on.values()) if is_room else []
        is_wide = self._concurrent_trials > len(self._queues)
        sharing = len(may_go_on.keys() | running.keys()) if is_wide else len(self._queues)
        return [queue for queue in may_go_on.values() if len(queue.running) * sharing < self._concurrent_trials]

    def _may_hand_out(self, queue: StudyQueue) -> bool:
        """Return whether a study has a waiting trial that may run, or may propose one more setting for its strata."""
        if queue.waiting:
            return self._next_waiting(queue) is not None
        may_propose = not queue.study.is_complete and not queue.finds_nothing_new
        return may_propose and self._budget.allows(queue.part.strata)

    def _next_waiting(self, queue: StudyQueue) -> Assignment | None:
        """Return the first of a study's waiting trials that may run; None: there is none.

        The trials of a proposal were counted together when it was made. That of a stratum that is new to the sweep was
        not, nor was a trial whose row is lost: the budget must have room for it.
        """
        if self.is_out_of_time:
            return None
        has_room: dict[str, bool] = {}
        for assignment in queue.waiting:
            stratum = assignment.stratum
            if self._state.is_known(assignment) or self._budget.counts(stratum, assignment.trial.trial_id):
                return assignment
            if stratum not in has_room:
                has_room[stratum] = self._budget.allows([stratum])
            if has_room[stratum]:
                return assignment
        return None

    def _commit_budget(self, queue: StudyQueue) -> None:
        """Note the cost of the waiting trials that will run, before other studies propose from what is left."""
        for assignment in queue.waiting:
            if not self._state.is_known(assignment):
                trial = assignment.trial
                self._budget.open(assignment.stratum, trial.trial_id, trial.steps[-1])

    def _begin(self, assignment: Assignment) -> bool:
        """Record a new trial in the ledger and return True; a repeated one waits, or counts at once: False."""
        trial, queue = assignment.trial, self._queues[assignment.study]
        queue.count_proposal(assignment, is_new=self._state.goes_further(assignment))
        state = self._state.trial(trial.trial_id)
        if trial.trial_id in queue.running:
            state.repeats.append(assignment)
            return False
        if state.status is not None:
            self._repeat(assignment)
            return False
        self._writer.propose(
            trial,
            number=assignment.proposal.number,
            distribution=self._spec.data.forget_set_of(trial.forget_set).distribution,
            proposal=assignment.proposal.as_json(),
        )
        return True

    def _repeat(self, assignment: Assignment) -> None:
        """Note that an ended trial was proposed again: it goes on if it completed and is asked to go further."""
        state = self._state.trial(assignment.trial.trial_id)
        goes_on = state.status is Status.COMPLETED and self._state.goes_further(assignment)
        self._writer.propose_again(assignment.trial, assignment.proposal.as_json())
        if goes_on:
            state.status = None
            self._state.unfinished.append(assignment)
        else:
            self._queues[assignment.study].end_trial(assignment, infeasible=False)

    def _hand_out(self, assignment: Assignment) -> Assignment:
        trial = assignment.trial
        self._queues[assignment.study].running.add(trial.trial_id)
        self._state.trial(trial.trial_id).target_step = trial.steps[-1]
        self._budget.open(assignment.stratum, trial.trial_id, trial.steps[-1])
        return assignment

    def observe(self, assignment: Assignment, observation: Observation) -> None:
        """Note one committed evaluation; its study is told of the step once all its trials were evaluated there."""
        self._state.observe(assignment, observation)

    def end(self, assignment: Assignment, status: Status) -> None:
        """Note that a trial ended, or was stopped."""
        trial_id, queue = assignment.trial.trial_id, self._queues[assignment.study]
        queue.running.discard(trial_id)
        queue.end_trial(assignment, infeasible=status in INFEASIBLE)
        state = self._state.trial(trial_id)
        if status in ENDED:
            state.status = status
            if self._budget.limits.max_gpu_hours is not None:
                elapsed_s = self._ledger.trial(trial_id)["elapsed_s"]
                self._budget.record(assignment.stratum, trial_id, elapsed_s=elapsed_s or 0.0)
            self._budget.close(assignment.stratum, trial_id)
        while state.repeats and state.status is not None:  # one that goes further opens it again, and the rest wait on
            self._repeat(state.repeats.pop(0))

    def fail(self, assignment: Assignment, message: str, *, may_retry: bool = True) -> Status | None:
        """Note that a trial failed. It goes on from its checkpoint, unless it has failed too often or may not.

        Returns:
            How the trial ended: its worker may have published an end before it died unheard. None: it goes on.
        """
        trial_id = assignment.trial.trial_id
        self._observe_published(assignment)
        status = self._ledger.trial(trial_id)["status"]
        state = self._state.trial(trial_id)
        state.failures += 1
        if status not in ENDED and may_retry and state.failures <= self._spec.resources.max_failures:
            self._queues[assignment.study].running.discard(trial_id)
            self._state.unfinished.append(assignment)
            return None
        if status not in ENDED:
            self._writer.fail(trial_id, message)
            status = Status.FAILED
        self.end(assignment, Status(status))
        return Status(status)

    def _observe_published(self, assignment: Assignment) -> None:
        """Tell the study what a trial published and nobody reported."""
        for evaluation in self._ledger.published(assignment.trial.trial_id)[0]:
            if evaluation.step in assignment.trial.steps:
                self.observe(assignment, Observation.of(evaluation))
