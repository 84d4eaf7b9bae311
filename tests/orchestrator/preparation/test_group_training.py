"""What a group of workers leaves in the cache, and what becomes of one that fails; without Ray."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch

from orchestrator.errors import StorageError, TaskFailedError
from orchestrator.ledger import Ledger
from orchestrator.preparation import ModelCache, SweepInputs, group_training, train_model
from orchestrator.preparation.group_training import train_in_group
from orchestrator.preparation.model_identity import model_tasks
from orchestrator.spec import SweepSpec
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import make_spec
from tests.support import tiny_architecture
from tests.trainables.gloo import GlooGroup
from trainables.data import build_datasets
from trainables.distributed import ALONE, current_worker_group
from trainables.errors import UnlearningError
from trainables.trial import FAILURE


def spec_of(**resources: Any) -> SweepSpec:
    return make_spec(
        model={"architecture": tiny_architecture(), "vocab_size": 300},
        preparation={"epochs": 1, "references": 0, "batch_size": 5, "warmup_steps": 1},
        resources=resources,
    )


class Untouchable:
    """Whose methods are the leader's alone to call."""

    def __getattr__(self, name: str) -> Any:
        def method(*_: Any) -> None:
            raise AssertionError(f"the leader alone calls {name}")

        return method


def train_base(folder: Path, parallelism: str | None) -> bool:
    """Train the base model; every worker but the leader would fail where it used the cache or the ledger."""
    spec = spec_of(**({"workers_per_trial": 2, "parallelism": parallelism} if parallelism else {}))
    datasets, group = build_datasets(spec.data), ALONE if parallelism is None else current_worker_group()
    (task,) = model_tasks(spec, datasets)
    used: Any = (
        (ModelCache(LocalStorage(folder)), Ledger(storage=LocalStorage(folder / "tiny"), sweep="tiny"))
        if group.is_leader
        else (Untouchable(), SimpleNamespace(fenced=Untouchable()))
    )
    assert train_model(spec, datasets, task, *used, group=group) is None
    return not group.is_leader or used[0].holds(task.key)


@pytest.mark.parametrize("parallelism", ["ddp", "fsdp"])
def test_a_group_leaves_the_files_that_one_worker_leaves_and_its_leader_writes_them(
    tmp_path: Path, parallelism: str
) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert train_base(alone, None)
    team = GlooGroup(2, tmp_path)
    try:
        assert team(train_base, together, parallelism) == [True, True]
    finally:
        team.close()
    expected, found = (
        {file.relative_to(at): file.read_bytes() for file in sorted(at.rglob("*")) if file.is_file()}
        for at in (alone, together)
    )
    assert found.keys() == expected.keys(), "under the same key"
    for path, content in expected.items():
        if path.suffix != ".safetensors":
            assert found[path] == content
            continue
        weights, of_one = safetensors.torch.load(found[path]), safetensors.torch.load(content)
        torch.testing.assert_close(weights, of_one, rtol=1e-4, atol=1e-5)


class Groups:
    """Starts groups whose next reports the test names; what it names of exceptions is raised, as Ray raises it."""

    def __init__(self, *reports: Any) -> None:
        self.reports, self.started, self.ended = list(reports), [], 0

    def __call__(self, work: Any, config: Any, **options: Any) -> "Groups":
        self.started.append(options)
        return self

    def next_report(self) -> Any:
        report = self.reports.pop(0)
        if isinstance(report, Exception):
            raise report
        return report

    def end(self) -> None:
        self.ended += 1


class ActorDiedError(Exception):
    """As Ray's."""


def lost() -> Exception:
    error = RuntimeError("Training failed due to worker errors:\nrank 0, rank 1")
    error.worker_failures = {  # type: ignore[attr-defined]
        0: RuntimeError("Connection closed by peer"),
        1: SimpleNamespace(health_check_failure=ActorDiedError("The actor died unexpectedly")),
    }
    return error


def train(monkeypatch: pytest.MonkeyPatch, groups: Groups, **resources: Any) -> list[str | None]:
    monkeypatch.setattr(group_training, "TrainGroup", groups)
    spec: SweepSpec = spec_of(workers_per_trial=2, cpus_per_trial=3, **resources)
    datasets = build_datasets(spec.data)
    part = SweepInputs(spec=spec, datasets=datasets, tasks=model_tasks(spec, datasets), workload_hash="w")
    cache: Any = None
    return train_in_group([part], cache, cache)


def test_a_group_that_loses_a_worker_is_followed_by_another_as_often_as_the_spec_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groups = Groups(lost(), lost(), {"warnings": ["mended"]})
    assert train(monkeypatch, groups) == ["mended"]
    assert groups.started == [{"workers": 2, "worker_resources": {"CPU": 1.5, "GPU": 0}}] * 3
    assert groups.ended == 3
    with pytest.raises(
        TaskFailedError, match=r"^one of its 2 workers died \(ActorDiedError: The actor died unexpectedly\)$"
    ) as caught:
        train(monkeypatch, Groups(lost(), lost()), max_failures=1)
    assert "rank 0, rank 1" in caught.value.details


@pytest.mark.parametrize("error", [UnlearningError("too long"), StorageError("no room")])
def test_what_a_user_can_mend_is_raised_as_it_is_and_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    groups = Groups({FAILURE: group_training._described(error)})
    with pytest.raises(type(error), match=f"^{error}$"):
        train(monkeypatch, groups)
    assert groups.ended == 1


def test_what_else_a_worker_raises_is_one_line_with_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = Groups({FAILURE: group_training._described(RuntimeError("a bug\nof ours"))})
    with pytest.raises(TaskFailedError, match=r"^RuntimeError: a bug$") as caught:
        train(monkeypatch, groups)
    assert "of ours" in caught.value.details
