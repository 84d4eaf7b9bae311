"""The narrow trial: a Ray Tune class trainable whose actor is reused and keeps the model resident."""

from typing import Any

from ray import tune

from trainables.records import Status, Trial
from trainables.trial import Engine, Results, TrialRun, Workload

TRIAL = "trial"
"""Key of the trial in Tune's config; its value is a ``Trial``."""
EVALUATION, OUTCOME = "evaluation", "outcome"
"""Keys of a Tune result: the evaluation's numbers (absent where the trial ended without one), the ending status."""


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
        """Go on to the next evaluation."""
        if self._run is None:
            self._run = TrialRun(self._engine, self._trial, self._results)
        evaluation = self._run.advance()
        result: dict[str, Any] = {"done": self._run.outcome is not None}
        if evaluation is not None:
            result[EVALUATION] = {
                "step": evaluation.step,
                "unlearning_quality": evaluation.unlearning_quality,
                "performance": evaluation.performance,
                "feasible": evaluation.status is Status.COMPLETED,
            }
        if self._run.outcome is not None:
            result[OUTCOME] = self._run.outcome.status.value
        return result

    def cleanup(self) -> None:
        """Leave an interrupted trial in good order; a finished one is left as it is."""
        if self._run is not None:
            self._run.interrupt()
            self._run = None
