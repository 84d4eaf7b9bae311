"""The narrow trial: a Ray Tune class trainable whose actor is reused and keeps the model resident."""

from typing import Any

from ray import tune

from trainables.records import Status
from trainables.trial import Engine, Results, Trial, TrialRun, Workload

TRIAL = "trial"
"""Key of the trial in Tune's config; its value is a ``Trial``."""
EVALUATION, OUTCOME = "evaluation", "outcome"
"""Keys of a Tune result: the evaluation's numbers (absent where the trial ended without one), the ending status."""


class AscentTrainable(tune.Trainable):  # type: ignore[misc]  # Ray is not typed
    """Each ``step`` is one evaluation, published before it is reported. Give ``workload`` and ``results`` by
    ``tune.with_parameters``."""

    def setup(self, config: dict[str, Any], *, workload: Workload, results: Results) -> None:
        """Load the model once and start the first trial."""
        self._engine = Engine(workload)
        self._results = results
        self._run = TrialRun(self._engine, config[TRIAL], results)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start the next trial in the same actor: the base weights are restored in place."""
        self._run.interrupt()
        trial: Trial = new_config[TRIAL]
        self._run = TrialRun(self._engine, trial, self._results)
        return True

    def step(self) -> dict[str, Any]:
        """Go on to the next evaluation."""
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
        self._run.interrupt()
