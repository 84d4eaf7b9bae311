"""The narrow trial: a Ray Tune class trainable whose actor is reused and keeps the model resident."""

import contextlib
from typing import Any

from ray import tune

from trainables.errors import ResultsError
from trainables.records import Trial
from trainables.results import Results
from trainables.trial import Engine, TrialRun, Workload
from trainables.tune_results import STORAGE_ERROR, TRIAL, next_result


class AscentTrainable(tune.Trainable):  # type: ignore[misc]  # Ray is not typed
    """Each ``step`` is one evaluation, published before it is reported. Give ``workload`` and ``results`` by
    ``tune.with_parameters``."""

    def setup(self, config: dict[str, Any], *, workload: Workload, results: Results) -> None:
        """Load the model once. The trial starts with the first step: Tune may give an actor another trial before."""
        self._engine = Engine(workload)
        self._results = results
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

    def _advance(self) -> dict[str, Any]:
        if self._run is None:
            self._run = TrialRun(self._engine, self._trial, self._results)
        result = next_result(self._run)
        return {"done": self._run.outcome is not None, **result}

    def cleanup(self) -> None:
        """Leave an interrupted trial in good order, if it can be kept; a finished one is left as it is."""
        if self._run is not None:
            with contextlib.suppress(ResultsError):
                self._run.interrupt()
            self._run = None
