"""Trials by Ray Tune: it hands them to reused actors, and passes on what it hears. It decides nothing.

Tune's own retries are off: it does not retry a trial whose worker dies before its first result. Its snapshots are
written to a scratch folder that nobody reads.
"""

import tempfile
from typing import Any

from ray import tune
from ray.exceptions import RayTaskError
from ray.tune import Callback, CheckpointConfig, FailureConfig, RunConfig, Stopper, TuneConfig, Tuner
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from orchestrator.run.failures import dead_worker
from orchestrator.run.trial_loop import TrialLoop
from orchestrator.search import Assignment
from orchestrator.spec import ResourcesConfig
from trainables.failures import Failure, TrialFailedError
from trainables.tune import TRIAL


def run_by_tune(trainable: Any, loop: TrialLoop, *, name: str, resources: ResourcesConfig, concurrent: int) -> None:
    """Run what ``loop`` hands out until it is over, or has to end.

    Args:
        trainable: of narrow or of wide trials, with its parameters.
        loop: the driver's side of the trials.
        name: of the sweep.
        resources: of a trial.
        concurrent: trials at once.
    """
    trials = _TuneTrials(loop)
    with tempfile.TemporaryDirectory(prefix="unlearn-sweep-tune-", ignore_cleanup_errors=True) as scratch:
        Tuner(
            tune.with_resources(trainable, resources.tune_resources),
            tune_config=TuneConfig(
                search_alg=_Asker(trials),
                scheduler=_FirstReadyWorker(),
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
                stop=_Ending(loop),
                callbacks=[_Listener(trials)],
                failure_config=FailureConfig(max_failures=0),
                checkpoint_config=CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
            ),
        ).fit()


class _TuneTrials:
    """Which of Tune's trials stands for which of the loop's; a trial that is retried is another one to Tune."""

    def __init__(self, loop: TrialLoop) -> None:
        self._loop = loop
        self._assignments: dict[str, Assignment] = {}

    def suggest(self, tune_id: str) -> dict[str, Any] | str | None:
        """Return a config for Tune, None where there is nothing to run now, or ``FINISHED``."""
        assignment = self._loop.next_trial()
        if assignment is not None:
            self._assignments[tune_id] = assignment
            return {TRIAL: assignment.trial}
        return Searcher.FINISHED if self._loop.is_over else None

    def heard(self, tune_id: str, result: dict[str, Any]) -> None:
        """Pass on a result, as Tune gives it to callbacks."""
        self._loop.heard(self._assignments.get(tune_id), result)

    def ended(self, tune_id: str, result: dict[str, Any]) -> None:
        """Pass on that a trial ended; Tune also says so of trials that it stopped itself."""
        if (assignment := self._assignments.pop(tune_id, None)) is not None:
            self._loop.ended(assignment, result)

    def failed(self, tune_id: str, failure: Failure) -> None:
        """Pass on that a trial's worker raised an exception on leaving, or died."""
        if (assignment := self._assignments.pop(tune_id, None)) is not None:
            self._loop.failed(assignment, failure)


class _Disposable:
    """Tune pickles what it is given into snapshots that nobody reads: leave them empty."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Asker(_Disposable, Searcher):  # type: ignore[misc]  # Ray is not typed
    """Lets Tune ask what to run. What Tune hears comes by ``_Listener``, which is told the cause of a failure too."""

    def __init__(self, trials: _TuneTrials) -> None:
        super().__init__()
        self._trials = trials

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        return self._trials.suggest(trial_id)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: the search is rebuilt from the ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing: the search is rebuilt from the ledger."""


class _FirstReadyWorker(FIFOScheduler):  # type: ignore[misc]  # Ray is not typed
    """Leaves it to Tune which trial an idle worker takes: one that waits for no worker, if there is any.

    Tune's default has an idle worker take the trial that has waited longest, and ends the process that was starting for
    it, which imports PyTorch for seconds. Where trials are shorter than that, no second worker ever starts.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        return None


class _Listener(_Disposable, Callback):  # type: ignore[misc]  # Ray is not typed
    """Passes on what Tune hears of its trials."""

    def __init__(self, trials: _TuneTrials) -> None:
        self._trials = trials

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        self._trials.heard(trial.trial_id, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._trials.ended(trial.trial_id, trial.last_result or {})
        _shrink(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._trials.failed(trial.trial_id, _failure_of(trial))
        _shrink(trial)


def _shrink(trial: Any) -> None:
    """Drop what a trial that has ended has reported, and how Tune's snapshots would describe it.

    Tune keeps all trials of a sweep, 75 KiB each, and nobody asks it for them.
    """
    heard = trial.run_metadata
    heard.last_result = {}
    heard.metric_analysis.clear()
    heard.metric_n_steps.clear()
    trial.invalidate_json_state()
    trial.get_json_state = _no_state


def _no_state() -> tuple[str, str]:
    return "{}", "{}"


def _failure_of(trial: Any) -> Failure:
    """Describe why Tune lost a trial: by what its worker raised on leaving, or by how the worker ended."""
    error = trial.get_pickled_error() or trial.get_error()
    cause = error.cause if isinstance(error, RayTaskError) else None
    return cause.failure if isinstance(cause, TrialFailedError) else dead_worker(str(error or ""), cause)


class _Ending(_Disposable, Stopper):  # type: ignore[misc]  # Ray is not typed
    """Ends Tune's loop where the driver's has to end."""

    def __init__(self, loop: TrialLoop) -> None:
        self._loop = loop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._loop.must_end()
