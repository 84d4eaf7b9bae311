"""Preparation that can be killed: a cache that notes every checkpoint, and kills a process by SIGKILL at the right one.

python -m tests.integration.preparing FOLDER    # a driver that prepares the models of the tiny sweep, and is killed
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import ray

from orchestrator.ledger import Ledger
from orchestrator.preparation import ModelCache, ModelTask, SweepInputs, train_missing
from orchestrator.preparation.model_identity import model_tasks
from orchestrator.spec import SweepSpec, load_spec
from orchestrator.storage import LocalStorage
from tests.integration.helpers import TINY
from tests.limits import HANG_S
from trainables.data import Datasets, build_datasets

WORKER_DIES_AT, DRIVER_DIES_AT = 3, 5
"""Steps of training."""


class NotingCache(ModelCache):
    """Notes (step, process) of every checkpoint in ``FOLDER/notes``; ``driver``: kills itself, and later the driver."""

    def __init__(self, folder: Path, *, driver: int | None = None) -> None:
        super().__init__(LocalStorage(folder))
        self._notes = folder / "notes"
        self._driver = driver

    def save_checkpoint(self, key: str, payload: bytes) -> None:
        super().save_checkpoint(key, payload)
        header = json.loads(payload[8 : 8 + int.from_bytes(payload[:8], "little")])
        step = json.loads(header["__metadata__"]["progress"])["step"]
        with self._notes.open("a") as notes:
            notes.write(f"{step} {os.getpid()}\n")
        if self._driver is not None and step == WORKER_DIES_AT:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._driver is not None and step == DRIVER_DIES_AT:
            os.kill(self._driver, signal.SIGKILL)
            signal.pause()  # until Ray ends the workers of a dead driver

    def noted(self) -> list[tuple[int, int]]:
        return [(int(step), int(pid)) for step, pid in map(str.split, self._notes.read_text().splitlines())]


def inputs() -> tuple[SweepSpec, Datasets, list[ModelTask]]:
    """Give the tiny sweep's spec and data, and the models that it needs."""
    spec = load_spec(TINY)
    datasets = build_datasets(spec.data)
    return spec, datasets, model_tasks(spec, datasets)


def part(tasks: list[ModelTask], *overrides: str) -> SweepInputs:
    """Give the inputs of a replicate that has these models."""
    _, datasets, _ = inputs()
    return SweepInputs(
        spec=load_spec(TINY, overrides=overrides), datasets=datasets, tasks=tasks, workload_hash="workload"
    )


def prepare(tasks: list[ModelTask], cache: ModelCache, *overrides: str) -> list[str]:
    """Train models, as a driver does; give their roles as they become ready."""
    return prepare_parts([part(tasks, *overrides)], cache)


def prepare_parts(parts: list[SweepInputs], cache: ModelCache) -> list[str]:
    """Train the models of several replicates; give their roles as they become ready."""
    ready: list[str] = []

    def wait(pending: Any) -> Any:
        (done,), _ = ray.wait(list(pending), timeout=HANG_S)
        return done

    ledger = Ledger(storage=LocalStorage(Path("nobody-watches")), sweep="tiny")  # it has no driver to look for
    train_missing(parts, cache, ledger, on_trained=ready.append, wait=wait)
    return ready


if __name__ == "__main__":
    ray.init(address="local", num_cpus=1, include_dashboard=False)
    prepare(inputs()[2][:1], NotingCache(Path(sys.argv[1]), driver=os.getpid()))
