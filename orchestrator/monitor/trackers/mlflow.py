"""MLflow: each sweep is an experiment, each trial a run that is found again by its tag ``trial_id``."""

from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus
from mlflow.exceptions import MlflowException

from orchestrator.errors import SweepError
from orchestrator.monitor.trackers.base import TrackedTrial, scalars
from orchestrator.storage import masked

_STATUSES = {None: RunStatus.RUNNING, "failed": RunStatus.FAILED, "stopped": RunStatus.KILLED}
"""Run statuses of trials that did not end by themselves; others are finished. The tag ``status`` has the trial's."""


class MlflowTracker:
    """Adds missing evaluations to the runs."""

    def __init__(self, target: str, sweep: str) -> None:
        """Open the experiment; raise a ``SweepError`` if MLflow cannot use the URI."""
        try:
            self._client = MlflowClient(tracking_uri=target)
            found = self._client.get_experiment_by_name(sweep)
            self._experiment = found.experiment_id if found else self._client.create_experiment(sweep)
        except MlflowException as error:
            raise SweepError(masked(f"--mlflow {target}: {error.message}")) from None
        self._runs: dict[str, str] = {}
        self.where = f"in the MLflow experiment {sweep} of {masked(target)}"

    def write(self, trial: TrackedTrial) -> None:
        """Log the evaluations whose steps the run lacks, and how the trial ended."""
        try:
            self._write(trial)
        except MlflowException as error:
            raise SweepError(f"{self.where}: trial {trial.trial_id}: {error.message}") from None

    def _write(self, trial: TrackedTrial) -> None:
        if trial.trial_id not in self._runs:
            self._runs[trial.trial_id] = self._find(trial) or self._create(trial)
        run_id = self._runs[trial.trial_id]
        logged = {metric.step for metric in self._client.get_metric_history(run_id, "performance")}
        for row in trial.evaluations:
            if row["step"] not in logged:
                at = self._milliseconds(trial, row["elapsed_s"])
                metrics = [Metric(name, value, at, row["step"]) for name, value in scalars(row).items()]
                self._client.log_batch(run_id, metrics=metrics)
        self._client.set_tag(run_id, "status", trial.status or "running")
        if trial.message:
            self._client.set_tag(run_id, "message", trial.message)
        status = RunStatus.to_string(_STATUSES.get(trial.status, RunStatus.FINISHED))
        if trial.status is None:
            self._client.update_run(run_id, status=status)
        else:
            last_s = trial.evaluations[-1]["elapsed_s"] if trial.evaluations else 0.0
            self._client.set_terminated(run_id, status=status, end_time=self._milliseconds(trial, last_s))

    def _find(self, trial: TrackedTrial) -> str | None:
        runs = self._client.search_runs([self._experiment], filter_string=f"tags.trial_id = '{trial.trial_id}'")
        return str(runs[0].info.run_id) if runs else None

    def _create(self, trial: TrackedTrial) -> str:
        tags = {"trial_id": trial.trial_id, "stratum": trial.stratum, "sweep": trial.sweep}
        run = self._client.create_run(
            self._experiment, start_time=self._milliseconds(trial, 0.0), tags=tags, run_name=trial.name
        )
        run_id = str(run.info.run_id)
        settings: dict[str, Any] = {**_flat(trial.config), "forget_set": trial.forget_set, "seed": trial.seed}
        settings["replicate"] = trial.replicate
        params = [Param(name, str(value)) for name, value in settings.items() if value is not None]
        self._client.log_batch(run_id, params=params)
        return run_id

    @staticmethod
    def _milliseconds(trial: TrackedTrial, elapsed_s: float) -> int:
        return int((trial.started_at.timestamp() + elapsed_s) * 1000)


def _flat(settings: Any) -> dict[str, Any]:
    """Return settings with nested ones flattened, such as ``optimizer_settings.beta1``."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": inside for inner, inside in _flat(value).items()}
        else:
            flat[name] = value
    return flat
