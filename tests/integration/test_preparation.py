"""Preparation that is cut off, raced or given a damaged checkpoint ends in the models of an unbroken one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import safetensors.torch
import torch

from orchestrator.errors import LedgerWarning, RunStoppedError, StorageError
from orchestrator.preparation import ModelCache
from orchestrator.preparation.model_cache import CHECKPOINT, COMPLETE
from orchestrator.storage import LocalStorage
from tests.integration.preparing import (
    DRIVER_DIES_AT,
    WORKER_DIES_AT,
    NotingCache,
    inputs,
    part,
    prepare,
    prepare_parts,
)
from tests.limits import HANG_S
from trainables.errors import UnlearningError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """Ray in this process, two models at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def model_files(storage: Path, key: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((storage / ".models" / key).iterdir())}


def test_killed_workers_and_drivers_leave_a_training_that_goes_on_to_the_same_model(
    ray_here: None, tiny_sweep: Path, tmp_path: Path
) -> None:
    cache, (base, *_) = NotingCache(tmp_path), inputs()[2]
    driver = subprocess.run([sys.executable, "-m", "tests.integration.preparing", str(tmp_path)], check=False)
    assert driver.returncode == -signal.SIGKILL
    psutil.wait_procs([psutil.Process(pid) for _, pid in cache.noted() if psutil.pid_exists(pid)], timeout=HANG_S)
    assert (tmp_path / ".models" / base.key / CHECKPOINT).exists()
    aside = tmp_path / ".models" / base.key / f".{CHECKPOINT}.0123abcd.tmp"
    aside.write_bytes(b"what a worker was writing when it was killed")

    assert prepare([base], cache) == ["base"]
    steps = [step for step, _ in cache.noted()]
    assert steps == sorted(set(steps)), "no step is taken twice"
    workers = list(dict.fromkeys(pid for _, pid in cache.noted()))
    by_worker = [[step for step, pid in cache.noted() if pid == worker] for worker in workers]
    assert [each[-1] for each in by_worker[:2]] == [WORKER_DIES_AT, DRIVER_DIES_AT]
    assert len(by_worker) == 3
    assert model_files(tmp_path, base.key) == model_files(tiny_sweep.parent, base.key)


def test_a_damaged_checkpoint_trains_the_model_anew_with_a_warning(
    ray_here: None, tiny_sweep: Path, tmp_path: Path
) -> None:
    cache, (base, *_) = ModelCache(LocalStorage(tmp_path)), inputs()[2]
    cache.save_checkpoint(base.key, b"noise")
    with pytest.warns(LedgerWarning, match=r"model 'base': its checkpoint is damaged .* trains from the beginning"):
        prepare([base], cache)
    assert model_files(tmp_path, base.key) == model_files(tiny_sweep.parent, base.key)


def test_two_sweeps_prepare_the_same_model_at_once(ray_here: None, tiny_sweep: Path, tmp_path: Path) -> None:
    base = inputs()[2][0]
    assert prepare([base, base], ModelCache(LocalStorage(tmp_path))) == ["base", "base"]
    assert model_files(tmp_path, base.key) == model_files(tiny_sweep.parent, base.key)


class _Overtaken(ModelCache):
    """Another sweep finishes the model, and tidies up, while this one writes a checkpoint."""

    def save_checkpoint(self, key: str, payload: bytes) -> None:
        self._storage.publish(f"{key}/{COMPLETE}", b'{"files": []}')
        raise StorageError("the file that was being written is gone")


def test_one_that_another_sweep_overtakes_takes_what_is_there(ray_here: None, tmp_path: Path) -> None:
    base = inputs()[2][0]
    assert prepare([base], _Overtaken(LocalStorage(tmp_path))) == ["base"]


class _Failing(ModelCache):
    def save_checkpoint(self, key: str, payload: bytes) -> None:
        raise StorageError("no room")


class _Deadly(ModelCache):
    def save_checkpoint(self, key: str, payload: bytes) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("cache", "error", "message"),
    [(_Failing, StorageError, "^no room$"), (_Deadly, RunStoppedError, "training model 'base': its worker died")],
)
def test_what_cannot_be_mended_is_said(
    ray_here: None, tmp_path: Path, cache: type[ModelCache], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        prepare([inputs()[2][0]], cache(LocalStorage(tmp_path)), "resources.max_failures=0")


def test_a_model_that_lacks_a_file_is_named(tmp_path: Path) -> None:
    cache: Any = ModelCache(LocalStorage(tmp_path))
    with pytest.raises(RunStoppedError, match=rf"{tmp_path}/.models/key: this model lacks the file '{COMPLETE}'"):
        cache.fetch("key", tmp_path / "here")


class _OnceDeadly(NotingCache):
    """Kills the first worker that takes a checkpoint of a step."""

    def save_checkpoint(self, key: str, payload: bytes) -> None:
        super().save_checkpoint(key, payload)
        if [step for step, _ in self.noted()] == list(range(1, WORKER_DIES_AT + 1)):
            os.kill(os.getpid(), signal.SIGKILL)


TOGETHER = ("resources.workers_per_trial=2", "resources.cpus_per_trial=2")
"""Two workers, for whom this machine has room once."""


def test_a_group_that_loses_a_worker_trains_the_same_model_and_says_a_users_mistake_as_it_is(
    ray_here: None, tiny_sweep: Path, tmp_path: Path
) -> None:
    cache, (base, reference, _) = _OnceDeadly(tmp_path), inputs()[2]
    mistaken = part([reference], *TOGETHER, "data.max_tokens=5")
    with pytest.raises(UnlearningError, match=r"^example .* above data\.max_tokens = 5;"):
        prepare_parts([part([base], *TOGETHER, "resources.parallelism=fsdp"), mistaken], cache)

    steps = [step for step, _ in cache.noted()]
    assert steps == sorted(set(steps)), "no step of the base model is taken twice; and none is of the other"
    died, survived = dict.fromkeys(pid for _, pid in cache.noted())
    assert (WORKER_DIES_AT, died) in cache.noted()
    assert (WORKER_DIES_AT + 1, survived) in cache.noted()
    found, alone = (model_files(storage, base.key) for storage in (tmp_path, tiny_sweep.parent))
    weights, expected = (safetensors.torch.load(files.pop("model.safetensors")) for files in (found, alone))
    assert found == alone, "the group leaves the same files"
    torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-5)
    assert not cache.holds(reference.key)
