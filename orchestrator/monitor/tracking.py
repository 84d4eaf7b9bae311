"""Showing a sweep's trials in TensorBoard, Weights & Biases and MLflow.

Trials are read from the ledger, without a hook in them, so it works while a sweep runs anywhere, and afterwards.
"""

import contextlib
import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.monitor.trackers import TrackedTrial, Tracker
from orchestrator.spec import on_axis, stored_spec

TRACKERS = {
    "tensorboard": ("orchestrator.monitor.trackers.tensorboard", "TensorBoardTracker"),
    "wandb": ("orchestrator.monitor.trackers.wandb", "WandbTracker"),
    "mlflow": ("orchestrator.monitor.trackers.mlflow", "MlflowTracker"),
}
"""Module and class of each tracker, by the command's option, which is also the name of the extra."""


def open_trackers(targets: Mapping[str, str | None], sweep: str) -> list[Tracker]:
    """Return the requested trackers, opened.

    Args:
        targets: where to write, by tracker; None: not requested.
        sweep: the name of the sweep.

    Raises:
        SweepError: no tracker was requested, its package is missing, or it cannot write there.
    """
    requested = {name: target for name, target in targets.items() if target is not None}
    if not requested:
        options = ", ".join(f"--{name}" for name in TRACKERS)
        raise SweepError(f"track: say where to show the trials, by one or more of {options}")
    return [_class_of(name)(target, sweep) for name, target in requested.items()]


def _class_of(name: str) -> Any:
    module, class_name = TRACKERS[name]
    try:
        return getattr(importlib.import_module(module), class_name)
    except ModuleNotFoundError as error:
        raise SweepError(
            f"--{name}: the package '{error.name}' is not installed; pip install 'unlearn-sweep[{name}]'"
        ) from None


class Tracking:
    """Passes what is new in a ledger to trackers, trial by trial."""

    def __init__(self, ledger: Ledger, trackers: Sequence[Tracker]) -> None:
        self._ledger = ledger
        self._trackers = trackers
        self._written: dict[str, tuple[set[int], str | None]] = {}
        """Steps and status of each trial as it was written last."""

    def update(self) -> int:
        """Write the trials that have new evaluations or another status since the last call.

        Returns:
            The number of new evaluations.
        """
        rows: dict[str, list[dict[str, Any]]] = {}
        evaluations = self._ledger.table("evaluations")
        with contextlib.suppress(SweepError):  # this version cannot read the spec: all rows are shown
            evaluations = on_axis(stored_spec(self._ledger), evaluations)
        for row in evaluations.sort_by("step").to_pylist():
            rows.setdefault(row["trial_id"], []).append(row)
        count = 0
        for trial in self._ledger.trials():
            own = rows.get(trial["trial_id"], [])
            steps, status = self._written.get(trial["trial_id"], (set(), None))
            fresh = [row for row in own if row["step"] not in steps]
            if not fresh and status == trial["status"]:
                continue
            tracked = _tracked(trial, own, fresh)
            for tracker in self._trackers:
                tracker.write(tracked)
            self._written[trial["trial_id"]] = ({row["step"] for row in own}, trial["status"])
            count += len(fresh)
        return count


def _tracked(trial: dict[str, Any], evaluations: list[dict[str, Any]], fresh: list[dict[str, Any]]) -> TrackedTrial:
    names = ("trial_id", "sweep", "forget_set", "seed", "replicate", "stratum", "status", "message", "started_at")
    config = json.loads(trial["config"])
    return TrackedTrial(config=config, evaluations=evaluations, fresh=fresh, **{name: trial[name] for name in names})
