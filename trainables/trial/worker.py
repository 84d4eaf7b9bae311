"""What one worker does for a sweep: it runs trials one after another, a slice at a time, on one resident model.

Trials of another replicate have another base model: it takes the place of the one that is resident.

Importing this module loads no PyTorch; the first slice does.
"""

import contextlib
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from trainables.deferred import Deferred
from trainables.errors import ResultsError
from trainables.failures import Failure, TrialFailedError, failure_of, needs_new_process
from trainables.records import Trial
from trainables.trial.reports import FAILURE, STORAGE_ERROR, next_report

if TYPE_CHECKING:
    from trainables.trial.engine import Engine, Evaluated
    from trainables.trial.sinks import TrialSink
    from trainables.trial.trial_run import TrialRun
    from trainables.trial.workload import Workload

_engine: Callable[..., "Engine"] = Deferred("trainables.trial", "Engine")
_trial_run: Callable[["Engine", Trial, "TrialSink"], "TrialRun"] = Deferred("trainables.trial", "TrialRun")


class TrialWorker:
    """Runs the trials that it is given, one after another, and reports on every slice of them."""

    def __init__(self, workload_of: Callable[[int], "Workload"], sink: "TrialSink") -> None:
        """Begin without a model.

        Args:
            workload_of: returns what the trials of a replicate share; called when another replicate's trial begins.
            sink: where rows and checkpoints go.
        """
        self._workload_of = workload_of
        self._sink = sink
        self._engine: Engine | None = None
        self._replicate: int | None = None
        """The replicate of the resident model."""
        self._of_base: dict[int, dict[str, Evaluated | None]] = {}
        """By replicate, what the base model was found to be: it may take turns with others."""
        self._trial: Trial | None = None
        self._run: TrialRun | None = None

    def take(self, trial: Trial) -> None:
        """Leave the trial in progress, if there is one, and take another. It starts with its first slice."""
        self.stop()
        self._trial = trial

    def next_report(self) -> dict[str, Any]:
        """Run the next slice of the trial and return the report of it, also where the trial fails.

        Raises:
            TrialFailedError: the trial failed, and this process is of no use to further trials.
        """
        try:
            return self.run_slice()
        except Exception as error:
            failure = self.failure(error)
            self._run = self._engine = None  # the next trial starts from a clean engine
            if needs_new_process(error):
                raise TrialFailedError(failure) from None
            return {FAILURE: asdict(failure)}

    def run_slice(self) -> dict[str, Any]:
        """Run the next slice of the trial and return the report of it. Whatever the trial raises is raised."""
        try:
            return next_report(self._in_progress())
        except ResultsError as error:
            self._run = None
            return {STORAGE_ERROR: str(error)}

    def failure(self, error: Exception) -> Failure:
        """Describe what the trial raised."""
        return failure_of(error, trial=self._trial, step=None if self._run is None else self._run.step)

    def _in_progress(self) -> "TrialRun":
        assert self._trial is not None
        if self._run is None:
            self._run = _trial_run(self._engine_of(self._trial.replicate), self._trial, self._sink)
        return self._run

    def _engine_of(self, replicate: int) -> "Engine":
        """Return the engine of a replicate, one for all of its trials in a row. There is one engine at a time."""
        if self._engine is None or self._replicate != replicate:
            if self._engine is not None:
                self._engine.accelerator.free_memory()
            self._engine = None  # before the next is built, so that there is room for it
            self._engine = _engine(self._workload_of(replicate), of_base=self._of_base.setdefault(replicate, {}))
            self._replicate = replicate
        return self._engine

    def stop(self) -> None:
        """Leave an unfinished trial in good order, if the storage takes it. A finished one is left as it is."""
        if self._run is not None:
            with contextlib.suppress(ResultsError):
                self._run.interrupt()
            self._run = None
