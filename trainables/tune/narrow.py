"""The narrow trial: a Ray Tune class trainable whose actor is reused and keeps the model resident.

The process that hands it to Tune loads no PyTorch with it.
"""

import contextlib
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ray import tune

from trainables.deferred import Deferred
from trainables.errors import ResultsError
from trainables.failures import TrialFailedError, failure_of, needs_new_process
from trainables.records import Trial
from trainables.tune.results import FAILURE, STORAGE_ERROR, TRIAL, next_result

if TYPE_CHECKING:
    from trainables.trial import Engine, TrialRun, TrialSink, Workload

_engine: Callable[["Workload"], "Engine"] = Deferred("trainables.trial", "Engine")
_trial_run: Callable[["Engine", Trial, "TrialSink"], "TrialRun"] = Deferred("trainables.trial", "TrialRun")


class AscentTrainable(tune.Trainable):  # type: ignore[misc]  # Ray is not typed
    """Each ``step`` is one evaluation, published before it is reported. Give ``workload`` and ``sink`` by
    ``tune.with_parameters``."""

    def setup(self, config: dict[str, Any], *, workload: "Workload", sink: "TrialSink") -> None:
        """Take what trials share. The trial starts with the first step: Tune may give an actor another trial before."""
        self._workload = workload
        self._engine: Engine | None = None
        self._sink = sink
        self._trial: Trial = config[TRIAL]
        self._run: TrialRun | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in the same actor."""
        self.cleanup()
        self._trial = new_config[TRIAL]
        return True

    def step(self) -> dict[str, Any]:
        """Go on towards the next evaluation."""
        try:
            return self._advance()
        except ResultsError as error:
            self._run = None
            return {"done": True, STORAGE_ERROR: str(error)}
        except Exception as error:
            failure = failure_of(error, trial=self._trial, step=None if self._run is None else self._run.step)
            self._run = self._engine = None  # the next trial starts from a clean engine
            if needs_new_process(error):
                raise TrialFailedError(failure) from None
            return {"done": True, FAILURE: asdict(failure)}

    def _advance(self) -> dict[str, Any]:
        if self._engine is None:  # once for all trials of this actor
            self._engine = _engine(self._workload)
        if self._run is None:
            self._run = _trial_run(self._engine, self._trial, self._sink)
        result = next_result(self._run)
        return {"done": self._run.outcome is not None, **result}

    def cleanup(self) -> None:
        """Leave an interrupted trial in good order, if it can be kept; a finished one is left as it is."""
        if self._run is not None:
            with contextlib.suppress(ResultsError):
                self._run.interrupt()
            self._run = None
