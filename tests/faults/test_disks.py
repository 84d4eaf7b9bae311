"""Disks that are full, read-only or broken: real ones where mounting is allowed; a seam for errors of the device."""

import builtins
import contextlib
import errno
import os

import pytest

from orchestrator.errors import StorageError
from orchestrator.ledger import DriverWriter, Ledger, TrialWriter
from orchestrator.storage import LocalStorage
from tests.faults.disks import mount, mounted
from tests.orchestrator.helpers import PROPOSAL, evaluation_record, example_record, make_trial

MIB = 2**20


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB in memory."""
    with mounted(tmp_path / "disk", "size=1m") as folder:
        yield folder


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("write", ["publish", "create"])
def test_a_full_disk_keeps_what_it_holds_and_takes_more_once_there_is_room(small_disk, write):
    storage = LocalStorage(small_disk)
    storage.publish("t/a", b"old")
    storage.publish("t/filler", bytes(MIB // 2))
    with pytest.raises(StorageError, match=rf"^{small_disk}/t/\w+: cannot (write|create): No space left on device$"):
        getattr(storage, write)("t/a" if write == "publish" else "t/new", bytes(MIB))
    assert files(small_disk) == ["t/a", "t/filler"]
    assert storage.read("t/a") == b"old"
    storage.remove("t/filler")
    getattr(storage, write)("t/b", bytes(MIB // 2))
    assert storage.read("t/b") == bytes(MIB // 2)


def test_a_ledger_on_a_full_disk_loses_no_committed_row(small_disk):
    ledger = Ledger(storage=LocalStorage(small_disk / "sweep"), sweep="sweep")
    trial = make_trial()
    worker = TrialWriter(ledger)
    DriverWriter(ledger).propose(trial, number=0, distribution="in", proposal=PROPOSAL)
    worker.publish(trial.trial_id, [evaluation_record(0)], [example_record(0)], None)
    before = ledger.published(trial.trial_id)
    room = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(bytes(room.f_bavail * room.f_bsize))
    with pytest.raises(StorageError, match="No space left"):
        worker.publish(trial.trial_id, [evaluation_record(0), evaluation_record(2)], [example_record(0)], None)
    with pytest.raises(StorageError, match="No space left"):
        worker.save_checkpoint(trial.trial_id, bytes(1000))
    assert ledger.published(trial.trial_id) == before
    assert not list(small_disk.rglob("*.tmp"))
    (small_disk / "filler").unlink()
    worker.publish(trial.trial_id, [evaluation_record(0), evaluation_record(2)], [example_record(0)], None)
    assert ledger.table("evaluations").num_rows == 2


def test_a_read_only_disk_is_read_and_says_so_of_every_change(small_disk):
    storage = LocalStorage(small_disk)
    storage.publish("t/a", b"old")
    mount("-o", "remount,ro", str(small_disk))
    changes = {
        "write": lambda: storage.publish("t/a", b"new"),
        "create": lambda: storage.create("t/new", b"new"),
        "remove": lambda: storage.remove("t/a"),
        "move to": lambda: storage.move("t/a", "t/b"),
        "write ": lambda: storage.publish("other/a", b"new"),
    }
    for doing, change in changes.items():
        with pytest.raises(StorageError, match=f": cannot {doing.strip()}.*: Read-only file system$"):
            change()
    storage.remove_leftovers()
    assert storage.read("t/a") == b"old"
    assert list(storage.files("t", "")) == ["t/a"]
    mount("-o", "remount,rw", str(small_disk))
    storage.publish("t/a", b"new")
    assert files(small_disk) == ["t/a"]


def broken(*_, **__):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def forbidden(*_, **__):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextlib.contextmanager
def failing(owner, name, on_call):
    """Let one call fail as a broken device does, by its number."""
    real, count = getattr(owner, name), 0

    def sometimes(*arguments, **options):
        nonlocal count
        count += 1
        return (broken if count == on_call else real)(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, sometimes)
        yield
    assert count >= on_call, "the fault was never met"


@pytest.mark.parametrize(
    ("owner", "name", "on_call", "visible"),
    [(os, "fsync", 1, b"old"), (os, "replace", 1, b"old"), (builtins, "open", 1, b"old"), (os, "fsync", 2, b"new")],
    ids=["fsync of the file", "rename", "open", "fsync of the folder, when the new content is in place"],
)
def test_a_broken_device_never_leaves_a_part(tmp_path, owner, name, on_call, visible):
    storage = LocalStorage(tmp_path)
    storage.publish("t/a", b"old")
    with (
        failing(owner, name, on_call),
        pytest.raises(StorageError, match=rf"^{tmp_path}/t/a: cannot write: Input/output error$"),
    ):
        storage.publish("t/a", b"new")
    assert storage.read("t/a") == visible
    assert files(tmp_path) == ["t/a"]
    storage.publish("t/a", b"newer")
    assert storage.read("t/a") == b"newer"


@pytest.mark.parametrize(("owner", "name"), [(os, "fsync"), (os, "link")])
def test_a_broken_device_creates_nothing(tmp_path, owner, name):
    storage = LocalStorage(tmp_path)
    storage.publish("t/other", b"x")
    with failing(owner, name, 1), pytest.raises(StorageError, match=r"t/a: cannot create: Input/output error$"):
        storage.create("t/a", b"new")
    assert files(tmp_path) == ["t/other"]
    assert storage.create("t/a", b"new")


def test_what_cannot_even_be_cleaned_up_is_reported_as_what_it_was(tmp_path, monkeypatch):
    storage = LocalStorage(tmp_path)
    storage.publish("t/a", b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", broken)
        patch.setattr(os, "unlink", forbidden)
        with pytest.raises(StorageError, match="cannot write: Input/output error"):
            storage.publish("t/a", b"new")
    assert len(files(tmp_path)) == 2
    storage.remove_leftovers()
    assert files(tmp_path) == ["t/a"]


@pytest.mark.parametrize(
    ("owner", "name", "use"),
    [
        (builtins, "open", lambda storage: storage.read("t/a")),
        (os, "scandir", lambda storage: storage.files("t", "")),
        (os, "scandir", lambda storage: storage.remove_leftovers()),
        (os, "unlink", lambda storage: storage.remove("t/a")),
        (os, "replace", lambda storage: storage.move("t/a", "t/b")),
    ],
)
def test_every_use_of_a_broken_device_says_where(tmp_path, owner, name, use):
    storage = LocalStorage(tmp_path)
    storage.publish("t/a", b"x")
    with failing(owner, name, 1), pytest.raises(StorageError, match=rf"^{tmp_path}.*: cannot .*: Input/output error$"):
        use(storage)
    assert storage.read("t/a") == b"x"


def test_a_listing_survives_a_file_that_goes_meanwhile(tmp_path, monkeypatch):
    """So that a table never seems empty because one of its files was moved."""
    storage = LocalStorage(tmp_path)
    for name in "abc":
        storage.publish(f"t/{name}", b"x")
    real = os.scandir

    def then_gone(place):
        entries = list(real(place))
        (tmp_path / "t" / "b").unlink()
        return iter(entries)

    monkeypatch.setattr(os, "scandir", then_gone)
    assert list(storage.files("t", "")) == ["t/a", "t/c"]
