"""A sweep's trials for TensorBoard, Weights & Biases and MLflow, read from the ledger like everything else.

It needs no hook in the trials, so it works while a sweep runs anywhere, and after.
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
"""Module and class by the command's option, which is the name of the extra too. Each loads a package of its own."""


def open_trackers(targets: Mapping[str, str | None], sweep: str) -> list[Tracker]:
    """Open the trackers that were asked for.

    Args:
        targets: where to write, by tracker; None: it was not asked for.
        sweep: the sweep's name.

    Raises:
        SweepError: none was asked for, its package is missing, or it cannot write there.
    """
    asked = {name: target for name, target in targets.items() if target is not None}
    if not asked:
        options = ", ".join(f"--{name}" for name in TRACKERS)
        raise SweepError(f"track: say where to show the trials, by one or more of {options}")
    return [_class_of(name)(target, sweep) for name, target in asked.items()]


def _class_of(name: str) -> Any:
    module, class_name = TRACKERS[name]
    try:
        return getattr(importlib.import_module(module), class_name)
    except ModuleNotFoundError as error:
        raise SweepError(
            f"--{name}: the package '{error.name}' is not installed; pip install 'unlearn-sweep[{name}]'"
        ) from None


class Tracking:
    """Gives trackers what is new in a ledger, trial by trial."""

    def __init__(self, ledger: Ledger, trackers: Sequence[Tracker]) -> None:
        self._ledger = ledger
        self._trackers = trackers
        self._given: dict[str, tuple[set[int], str | None]] = {}
        """Steps and status of each trial as it was given last."""

    def update(self) -> int:
        """Give the trials that have new evaluations or another status since the last call.

        Returns:
            How many evaluations were new.
        """
        rows: dict[str, list[dict[str, Any]]] = {}
        evaluations = self._ledger.table("evaluations")
        with contextlib.suppress(SweepError):  # a spec that this version cannot read: all rows are shown
            evaluations = on_axis(stored_spec(self._ledger), evaluations)
        for row in evaluations.sort_by("step").to_pylist():
            rows.setdefault(row["trial_id"], []).append(row)
        count = 0
        for trial in self._ledger.trials():
            own = rows.get(trial["trial_id"], [])
            steps, status = self._given.get(trial["trial_id"], (set(), None))
            fresh = [row for row in own if row["step"] not in steps]
            if not fresh and status == trial["status"]:
                continue
            tracked = _tracked(trial, own, fresh)
            for tracker in self._trackers:
                tracker.write(tracked)
            self._given[trial["trial_id"]] = ({row["step"] for row in own}, trial["status"])
            count += len(fresh)
        return count


def _tracked(trial: dict[str, Any], evaluations: list[dict[str, Any]], fresh: list[dict[str, Any]]) -> TrackedTrial:
    names = ("trial_id", "sweep", "forget_set", "seed", "stratum", "status", "message", "started_at")
    config = json.loads(trial["config"])
    return TrackedTrial(config=config, evaluations=evaluations, fresh=fresh, **{name: trial[name] for name in names})
