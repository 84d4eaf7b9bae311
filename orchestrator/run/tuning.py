"""Ray Tune's side of a sweep: hands trials to reused actors, and passes on what it hears. It decides nothing.

Tune's own retries are off: it does not retry a trial whose worker dies before its first result. Its snapshots are
written to a scratch folder that nobody reads.
"""

import tempfile
import time
import warnings
from typing import Any, Protocol

from ray import tune
from ray.exceptions import RayTaskError
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, Stopper, TuneConfig, Tuner
from ray.tune.search import Searcher

from orchestrator.driver import Interrupt, Lease
from orchestrator.errors import BudgetSpentError, LedgerWarning, RunStoppedError, StorageError, SweepError
from orchestrator.run.failures import WORKER_DIED, Failures, dead_worker
from orchestrator.search import Assignment, SweepSearch
from orchestrator.spec import ResourcesConfig
from trainables.failures import Failure, TrialFailedError
from trainables.records import ENDED, Observation, Status
from trainables.tune import EVALUATION, FAILURE, OUTCOME, STORAGE_ERROR, TRIAL, WARNING

_DISORDERS = (RunStoppedError, SweepError)
"""Errors that end a run, and must not end Tune's loop where they happen."""


class TrialEvents(Protocol):
    """What is told of trials as they run."""

    def evaluated(self, *, forget_set: str, evaluation: Observation) -> None:
        """Report one committed evaluation."""

    def trial_ended(self, *, status: str) -> None:
        """Report one ended trial."""

    def trial_retried(self, *, trial_id: str, message: str) -> None:
        """Report that a trial failed, and goes on from its checkpoint."""

    def trial_failed(self, *, trial_id: str, message: str) -> None:
        """Report why a trial failed for good; that it ended is reported too."""


def run_trials(
    trainable: Any,
    search: SweepSearch,
    failures: Failures,
    *,
    name: str,
    resources: ResourcesConfig,
    concurrent: int,
    events: TrialEvents,
    interrupt: Interrupt,
    lease: Lease,
) -> None:
    """Run what ``search`` proposes until there is nothing left, or ``interrupt`` has a reason to stop.

    Args:
        trainable: of narrow or of wide trials, with its parameters.
        search: what to run.
        failures: told of what goes wrong with a trial.
        name: of the sweep.
        resources: of a trial.
        concurrent: trials at once.
        events: told of every evaluation and ending.
        interrupt: the reason to stop; errors of the storage become one.
        lease: by which the running trials are asked to stop in good order.
    """
    exchange = _Exchange(search, failures, events, interrupt, lease)
    with tempfile.TemporaryDirectory(prefix="unlearn-sweep-tune-", ignore_cleanup_errors=True) as scratch:
        Tuner(
            tune.with_resources(trainable, resources.tune_resources),
            tune_config=TuneConfig(
                search_alg=_Asker(exchange),
                num_samples=-1,
                max_concurrent_trials=concurrent,
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.config[TRIAL].trial_id,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=RunConfig(
                name=name,
                storage_path=scratch,
                verbose=0,
                stop=_Ending(exchange, resources),
                callbacks=[_Listener(exchange)],
                failure_config=FailureConfig(max_failures=0),
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
            ),
        ).fit()


class _Exchange:
    """Between Tune's trials and the search's assignments."""

    def __init__(
        self, search: SweepSearch, failures: Failures, events: TrialEvents, interrupt: Interrupt, lease: Lease
    ) -> None:
        self.interrupt = interrupt
        self.lease = lease
        self.last_heard = time.monotonic()
        self._search = search
        self._failures = failures
        self._events = events
        self._assignments: dict[str, Assignment] = {}

    @property
    def running(self) -> list[str]:
        return self._search.running

    def suggest(self, tune_id: str) -> dict[str, Any] | str | None:
        """Give Tune a config, nothing for now, or the end; with trials running it is never the end: one may fail."""
        assignment = None
        if self.interrupt.reason is None:
            with self.interrupt.on(*_DISORDERS):
                assignment = self._search.next()
        if assignment is not None:
            self._assignments[tune_id] = assignment
            self._failures.begun(assignment.trial.trial_id)
            self.last_heard = time.monotonic()
            return {TRIAL: assignment.trial}
        over = self.interrupt.reason is not None or self._search.is_exhausted()
        return Searcher.FINISHED if over and not self.running else None

    def watch_the_clock(self) -> None:
        """Stop the run where the sweep has been driven for as long as its budget allows."""
        if self.interrupt.reason is None and self._search.is_out_of_time:
            self.interrupt.stop(BudgetSpentError())

    def heard(self, tune_id: str, result: dict[str, Any]) -> None:
        """Take a result, as Tune gives it to callbacks."""
        self.last_heard = time.monotonic()
        if WARNING in result:
            warnings.warn(result[WARNING], LedgerWarning, stacklevel=2)
        if STORAGE_ERROR in result:
            with self.interrupt.on(*_DISORDERS):
                self.lease.renew()  # perhaps it is lost, and nothing is wrong with the storage
            self.interrupt.stop(StorageError(result[STORAGE_ERROR]))
        assignment = self._assignments.get(tune_id)
        if assignment is not None and EVALUATION in result:
            if result[EVALUATION].step > 0:  # step 0 is the base model, which says nothing of ascending
                self._failures.has_results()
            self._search.observe(assignment, result[EVALUATION])
            self._events.evaluated(forget_set=assignment.trial.forget_set, evaluation=result[EVALUATION])

    def ended(self, tune_id: str, result: dict[str, Any]) -> None:
        """Close a trial with its last result; Tune also says so of trials that it stopped itself."""
        if FAILURE in result:
            self.failed(tune_id, Failure(**result[FAILURE]))
            return
        assignment = self._assignments.pop(tune_id, None)
        if assignment is not None:
            status = Status(result.get(OUTCOME, Status.STOPPED))
            with self.interrupt.on(*_DISORDERS):
                self._search.end(assignment, status)
            if status in ENDED:
                self._failures.has_results()
            self._events.trial_ended(status=status)

    def failed(self, tune_id: str, failure: Failure) -> None:
        """Take note of a trial that raised an exception, or whose worker died."""
        assignment = self._assignments.pop(tune_id, None)
        if assignment is None:
            return
        trial_id = assignment.trial.trial_id
        if self.interrupt.reason is not None:  # it is not tried again now
            with self.interrupt.on(*_DISORDERS):
                if failure.kind != WORKER_DIED:
                    self._failures.keep(trial_id, failure)
                self._search.end(assignment, Status.STOPPED)
            return
        with self.interrupt.on(*_DISORDERS):
            failure = self._failures.keep(trial_id, failure)
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


class _Disposable:
    """Tune pickles what it is given into snapshots that nobody reads: leave them empty."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Asker(_Disposable, Searcher):  # type: ignore[misc]  # Ray is not typed
    """Lets Tune ask what to run. What it hears comes by ``_Listener``, which is told the cause of a failure too."""

    def __init__(self, exchange: _Exchange) -> None:
        super().__init__()
        self._exchange = exchange

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        return self._exchange.suggest(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the search is rebuilt from the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing: the search is rebuilt from the ledger."""


class _Listener(_Disposable, Callback):  # type: ignore[misc]  # Ray is not typed
    """Passes on what Tune hears of its trials."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        self._exchange.heard(trial.trial_id, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._exchange.ended(trial.trial_id, trial.last_result or {})

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._exchange.failed(trial.trial_id, _failure_of(trial))


def _failure_of(trial: Any) -> Failure:
    """Describe why Tune lost a trial: by what its worker raised on leaving, or by how the worker ended."""
    error = trial.get_pickled_error() or trial.get_error()
    cause = error.cause if isinstance(error, RayTaskError) else None
    return cause.failure if isinstance(cause, TrialFailedError) else dead_worker(str(error or ""), cause)


class _Ending(_Disposable, Stopper):  # type: ignore[misc]  # Ray is not typed
    """Asks the trials to stop when there is a reason to, and ends Tune's loop if they do not within the grace period.

    Nothing that cannot be saved is waited for, and nothing is waited for in silence for ever.
    """

    def __init__(self, exchange: _Exchange, resources: ResourcesConfig) -> None:
        self._exchange = exchange
        self._grace_s = resources.stop_grace_s
        self._silence_limit_s = resources.silence_limit_s
        self._asked_at: float | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        interrupt = self._exchange.interrupt
        self._exchange.watch_the_clock()
        now = time.monotonic()
        silence = now - self._exchange.last_heard
        if self._exchange.running and silence > self._silence_limit_s:
            interrupt.stop(
                RunStoppedError(
                    f"no sign of life for {silence:.0f} s (resources.silence_limit_s) from the running trials "
                    f"{', '.join(self._exchange.running)}; see whether the cluster still has their workers, then resume"
                )
            )
        if interrupt.reason is None:
            return False
        if self._asked_at is None:
            self._asked_at = now
            if not isinstance(interrupt.reason, _DISORDERS):
                with interrupt.on(*_DISORDERS):
                    self._exchange.lease.stop_trials()
        return isinstance(interrupt.reason, _DISORDERS) or now - self._asked_at > self._grace_s
