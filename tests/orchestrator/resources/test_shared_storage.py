"""That all machines see one storage is found out by writing and reading; here with machines that are folders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import RunStoppedError, StorageError, SweepError
from orchestrator.resources import require_shared, shared_storage
from orchestrator.storage import LocalStorage


class Deaf(LocalStorage):
    """A storage whose disk fails."""

    def read(self, path: str) -> bytes | None:
        raise StorageError(f"{self.uri}: cannot read: 403 Forbidden")


class Forgetful(LocalStorage):
    """A storage that keeps what it is given to itself."""

    def publish(self, path: str, content: Any) -> None:
        pass


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "sweeps")


def let_machines_see(monkeypatch: pytest.MonkeyPatch, **machines: LocalStorage | Exception) -> None:
    """Let each machine see the path of the storage as the one given."""

    def on_every_node(task: Callable[..., Any], _: LocalStorage, *arguments: Any) -> dict[str, Any]:
        answers: dict[str, Any] = {}
        for name, seen in machines.items():
            try:
                answers[name] = seen if isinstance(seen, Exception) else task(seen, *arguments)
            except Exception as error:  # as a Ray task's
                answers[name] = error
        return answers

    monkeypatch.setattr(shared_storage, "on_every_node", on_every_node)


def test_machines_that_see_one_storage_are_named(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    let_machines_see(monkeypatch, head=storage, worker=storage)
    assert require_shared(storage) == ["head", "worker"]
    assert [path for path in Path(storage.uri).rglob("*") if path.is_file()] == [], "it leaves nothing behind"


def test_each_machine_that_sees_another_storage_is_named_with_what_it_said(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_machines_see(
        monkeypatch,
        head=storage,
        own_disk=LocalStorage(tmp_path / "other"),
        no_credentials=Deaf(Path(storage.uri)),
        keeps=Forgetful(Path(storage.uri)),
        bare=ImportError("install s3fs"),
    )
    with pytest.raises(SweepError) as caught:
        require_shared(storage)
    lines = str(caught.value).splitlines()
    assert lines[1:-1] == [
        "  own_disk: a file that was just written is not there",
        f"  no_credentials: {storage.uri}: cannot read: 403 Forbidden",
        "  keeps: what it writes is not seen from here",
        "  bare: ImportError: install s3fs",
    ]
    assert "s3://bucket/sweeps" in lines[-1]


def test_a_silent_machine_is_no_mistake_of_the_users(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    let_machines_see(monkeypatch, head=storage, spot=TimeoutError("no answer"))
    with pytest.raises(RunStoppedError, match="no answer from spot"):
        require_shared(storage)
