"""The driver's side of a sweep's trials, whatever executes them: it hands them out, hears of them, and closes them.

It decides nothing of what runs next, which is the search's, and runs nothing, which is the executor's.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from orchestrator.driver import Interrupt, Lease
from orchestrator.errors import BudgetSpentError, LedgerWarning, RunStoppedError, StorageError, SweepError
from orchestrator.run.events import TrialEvents
from orchestrator.run.failures import WORKER_DIED, Failures
from orchestrator.search import Assignment, Halving, SweepSearch
from orchestrator.spec import ResourcesConfig
from trainables.failures import Failure
from trainables.records import ENDED, Observation, Status
from trainables.trial import EVALUATION, FAILURE, OUTCOME, RUNG, STORAGE_ERROR, WARNING

_DISORDERS = (RunStoppedError, SweepError)
"""Errors after which nothing more can be saved. They end the run, and must not end an executor's loop where they
happen."""


class TrialLoop:
    """What an executor asks for trials, and reports to.

    The executor calls ``next_trial`` whenever it has room, ``heard`` for every report of a trial, then ``ended`` or
    ``failed`` once for it, and between all these ``must_end``.
    """

    def __init__(
        self,
        search: SweepSearch,
        failures: Failures,
        events: TrialEvents,
        interrupt: Interrupt,
        lease: Lease,
        *,
        resources: ResourcesConfig,
        halving: Halving | None = None,
        profile: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with what the search has left to do.

        Args:
            search: what to run.
            failures: notes what goes wrong with trials.
            events: told of every evaluation and ending.
            interrupt: the reason to stop, once there is one; errors of the storage become one.
            lease: by which the running trials are asked to stop in good order.
            resources: its ``stop_grace_s`` and ``silence_limit_s`` bound the waits.
            halving: judges trials at the rungs of ``stop.halving``; None: there are none.
            profile: have the first trial record what it does.
            clock: returns seconds that only grow.
        """
        self._search = search
        self._failures = failures
        self._events = events
        self._interrupt = interrupt
        self._lease = lease
        self._halving = halving
        self._profiles_next = profile
        self._grace_s = resources.stop_grace_s
        self._silence_limit_s = resources.silence_limit_s
        self._clock = clock
        self._last_heard = clock()
        self._asked_at: float | None = None

    @property
    def running(self) -> list[str]:
        """The ids of the trials that were handed out and have not ended."""
        return self._search.running

    def next_trial(self) -> Assignment | None:
        """Return the next trial to run; None: there is none now, or none any more (``is_over``)."""
        assignment = None
        if self._interrupt.reason is None:
            with self._interrupt.on(*_DISORDERS):
                assignment = self._search.next()
        if assignment is not None:
            self._failures.begun(assignment.trial.trial_id)
            self._last_heard = self._clock()
            if self._profiles_next:
                assignment = replace(assignment, trial=replace(assignment.trial, is_profiled=True))
                self._profiles_next = False
        return assignment

    @property
    def is_over(self) -> bool:
        """Whether no trial will follow. While one runs it is not over: the trial may fail, and be run again."""
        return (self._interrupt.reason is not None or self._search.is_exhausted()) and not self.running

    def heard(self, assignment: Assignment | None, report: dict[str, Any]) -> None:
        """Take a trial's report. A trial that has reached a rung is judged before this returns: it may go on then.

        Args:
            assignment: the trial; None: it is closed already.
            report: of its last slice.
        """
        self._last_heard = self._clock()
        if WARNING in report:
            warnings.warn(report[WARNING], LedgerWarning, stacklevel=2)
        if STORAGE_ERROR in report:
            with self._interrupt.on(*_DISORDERS):
                self._lease.renew()  # perhaps it is lost, and nothing is wrong with the storage
            self._interrupt.stop(StorageError(report[STORAGE_ERROR]))
        if assignment is not None and EVALUATION in report:
            self._observe(assignment, report[EVALUATION])
        if assignment is not None and RUNG in report:
            assert self._halving is not None
            with self._interrupt.on(*_DISORDERS):
                self._halving.decide(assignment.trial, report[RUNG])

    def _observe(self, assignment: Assignment, evaluation: Observation) -> None:
        if evaluation.step > 0:  # step 0 is the base model, which says nothing of ascending
            self._failures.has_results()
        self._search.observe(assignment, evaluation)
        if self._halving is not None:
            self._halving.observe(assignment.trial, evaluation)
        self._events.evaluated(forget_set=assignment.trial.forget_set, evaluation=evaluation)

    def ended(self, assignment: Assignment, report: dict[str, Any]) -> None:
        """Close a trial with its last report, whose outcome is missing where the executor ended the trial itself."""
        if FAILURE in report:
            self.failed(assignment, Failure(**report[FAILURE]))
            return
        status = Status(report.get(OUTCOME, Status.STOPPED))
        with self._interrupt.on(*_DISORDERS):
            self._search.end(assignment, status)
        if status in ENDED:
            self._failures.has_results()
        self._events.trial_ended(status=status)

    def failed(self, assignment: Assignment, failure: Failure) -> None:
        """Note that a trial raised an exception, or that its worker died; it may be run again."""
        trial_id = assignment.trial.trial_id
        if self._interrupt.reason is not None:  # it is not tried again now
            with self._interrupt.on(*_DISORDERS):
                if failure.kind != WORKER_DIED:
                    self._failures.keep(trial_id, failure)
                self._search.end(assignment, Status.STOPPED)
            return
        with self._interrupt.on(*_DISORDERS):
            failure = self._failures.keep(trial_id, failure)
            if self._halving is not None:
                self._halving.catch_up(assignment.trial)
            may_retry = self._failures.may_retry(trial_id, failure)
            status = self._search.fail(assignment, failure.message, may_retry=may_retry)
            if status is None:
                self._events.trial_retried(trial_id=trial_id, message=failure.message)
                return
            if status is Status.FAILED:
                self._events.trial_failed(trial_id=trial_id, message=failure.message)
            self._events.trial_ended(status=status)
            if status is Status.FAILED:
                self._failures.failed(trial_id, failure)

    def must_end(self) -> bool:
        """Return whether the executor has to leave the trials that run as they are.

        Where there is a reason to stop, the trials are asked to, and have a grace period. What cannot be saved is not
        waited for, and no silence is waited out for ever.
        """
        self._look_at_the_clock()
        reason = self._interrupt.reason
        if reason is None:
            return False
        if self._asked_at is None:
            self._asked_at = self._clock()
            if not isinstance(reason, _DISORDERS):
                with self._interrupt.on(*_DISORDERS):
                    self._lease.stop_trials()
        return isinstance(self._interrupt.reason, _DISORDERS) or self._clock() - self._asked_at > self._grace_s

    def _look_at_the_clock(self) -> None:
        """Stop the run where the budget's time is spent, or no trial has shown a sign of life for too long."""
        if self._interrupt.reason is None and self._search.is_out_of_time:
            self._interrupt.stop(BudgetSpentError())
        silence = self._clock() - self._last_heard
        if self.running and silence > self._silence_limit_s:
            self._interrupt.stop(
                RunStoppedError(
                    f"no sign of life for {silence:.0f} s (resources.silence_limit_s) from the running trials "
                    f"{', '.join(self.running)}; see whether the cluster still has their workers, then resume"
                )
            )
