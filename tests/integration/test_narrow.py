"""Trials that share one GPU (Ray counts one; PyTorch sees none): what they are given, and what they hold in common."""

import json
import os
import time
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import ray

from orchestrator.resources import measure
from orchestrator.run import run_sweep
from orchestrator.run.executors import ray_executor
from orchestrator.spec import load_spec
from tests.integration.helpers import TINY
from tests.limits import HANG_S
from tests.support import tiny_workload
from trainables.records import Observation
from trainables.tune import TRIAL, AscentTrainable

pytestmark = pytest.mark.slow

CPUS = 2
TRIALS = 6
SPENT_BYTES = 600 * 2**20
LARGER = (
    "model.architecture.hidden_size=128",  # Ray keeps what is larger than 100 kB in shared memory
    "model.architecture.intermediate_size=256",
    "preparation.references=0",
    "steps=[1, 2]",
    f"search.trials={TRIALS // 2}",
)


@pytest.fixture(scope="module")
def one_gpu() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        ray.init(address="local", num_cpus=CPUS, num_gpus=1, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


class NotingTrainable(AscentTrainable):
    """Notes what each actor was given, beside its sweep. Another than the first takes long to start: until the first
    has had a trial and takes its next one."""

    def setup(self, config: dict[str, Any], **parameters: Any) -> None:
        self._notes = Path(f"{parameters['sink'].ledger.storage.uri}-{os.getpid()}")
        others = list(self._notes.parent.glob("tiny-*.trials"))
        self._note(config)
        deadline = time.monotonic() + HANG_S
        while others and not any(len(other.read_text().split()) > 1 for other in others):
            assert time.monotonic() < deadline
            time.sleep(0.02)  # a poll of the file system, not a guess at a duration
        super().setup(config, **parameters)
        largest = max(ray.get(parameters["workloads"][0]).base.arrays.values(), key=lambda array: array.nbytes)
        note = {
            "resources": ray.get_runtime_context().get_assigned_resources(),
            "gpus": ray.get_gpu_ids(),
            "writeable": largest.flags.writeable or largest.flags.owndata,
            "mapped": mapped_at(largest),
        }
        self._notes.with_suffix(".json").write_text(json.dumps(note))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._note(new_config)
        return super().reset_config(new_config)

    def _note(self, config: dict[str, Any]) -> None:
        with self._notes.with_suffix(".trials").open("a") as file:
            file.write(f"{config[TRIAL].trial_id}\n")


def mapped_at(array: npt.NDArray[Any]) -> tuple[str, int]:
    """Find the shared memory that an array lies in, by inode, and its place there, in bytes."""
    address = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, offset, _, inode, *path = line.split()
        first, last = (int(number, 16) for number in span.split("-"))
        if first <= address < last:
            assert path, "it is this process's own memory"
            assert path[0].startswith("/dev/shm"), line
            return inode, int(offset, 16) + address - first
    raise AssertionError("the array is nowhere")


class Watching:
    """Keeps what is told of a run."""

    def __init__(self) -> None:
        self.at_once = 0
        self.shares = ""
        self.statuses: list[str] = []

    def preparing(self, roles: list[str]) -> None:
        pass

    def model_ready(self, role: str) -> None:
        pass

    def shared(self, how: str) -> None:
        self.shares = how

    def sweeping(self, *, total: int, ended: int, concurrent: int) -> None:
        self.at_once = concurrent

    def evaluated(self, *, forget_set: str, evaluation: Observation) -> None:
        pass

    def trial_ended(self, *, status: str) -> None:
        self.statuses.append(status)

    def trial_retried(self, *, trial_id: str, message: str) -> None:
        pass

    def trial_failed(self, *, trial_id: str, message: str) -> None:
        pass


def spend(folder: Path) -> None:
    """Take memory, and let go of it once all workers have done so: then none is left that has not."""
    np.ones(SPENT_BYTES // 8)
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < CPUS:
        time.sleep(0.02)  # a poll of the file system, not a guess at a duration


def test_a_peak_is_measured_in_a_process_that_did_nothing_before(one_gpu: None, tmp_path: Path) -> None:
    ray.get([ray.remote(num_cpus=1)(spend).remote(tmp_path) for _ in range(CPUS)])
    peak = ray.get(measure(load_spec(TINY), ray.put(tiny_workload())))
    assert 50 * 2**20 < peak.host_bytes < SPENT_BYTES


def test_trials_share_a_gpu_and_one_copy_of_the_base_weights_and_reuse_their_engines(
    one_gpu: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_executor, "AscentTrainable", NotingTrainable)
    settings = ("resources.gpus_per_trial=1", "resources.concurrent_trials=auto", *LARGER)
    watching = Watching()
    run_sweep(load_spec(TINY, overrides=settings), storage=str(tmp_path), events=watching)
    assert watching.statuses == ["completed"] * TRIALS
    assert watching.at_once == CPUS
    notes = [json.loads(path.read_text()) for path in tmp_path.glob("tiny-*.json")]
    assert len(notes) == CPUS, "engines are built once for several trials"
    rows = sorted(pq.read_table(tmp_path / "tiny" / "trials").to_pylist(), key=itemgetter("started_at"))
    firsts = {path.read_text().split()[0] for path in tmp_path.glob("tiny-*.trials")}
    assert firsts == {row["trial_id"] for row in rows[:CPUS]}, (
        "a worker that takes long to start keeps its trial, and the other goes on with the next"
    )
    assert {tuple(note["gpus"]) for note in notes} == {(0,)}
    assert {(note["resources"]["GPU"], note["resources"]["CPU"]) for note in notes} == {(1 / CPUS, 1)}
    assert not any(note["writeable"] for note in notes)
    assert len({tuple(note["mapped"]) for note in notes}) == 1
    noted = json.loads((tmp_path / "tiny" / "sweep.json").read_text())["sharing"]
    assert (noted["trials_per_device"], noted["cpus"], noted["headroom"]) == (CPUS, CPUS, 0.1)
    assert 100 * 2**20 < noted["peak_bytes"] < noted["memory_bytes"] / CPUS
    assert watching.shares.startswith(f"{CPUS} trials share a GPU that PyTorch does not see")
