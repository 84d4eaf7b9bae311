"""One contract for every storage; and what only a local disk can get wrong."""

import errno
import multiprocessing
import os
import pickle
import re
import uuid
from pathlib import Path

import pytest

from orchestrator.errors import StorageError, SweepError
from orchestrator.storage import LocalStorage, open_storage
from orchestrator.storage.object_store import ObjectStorage
from tests.limits import HANG_S


@pytest.fixture(params=["local", "memory", "s3"])
def storage(request, tmp_path):
    if request.param == "local":
        return LocalStorage(tmp_path / "not" / "yet" / "there")
    if request.param == "s3":
        return ObjectStorage(f"s3://{request.getfixturevalue('s3_bucket')}/not/yet/there")
    return ObjectStorage(f"memory://{uuid.uuid4().hex}/not/yet/there")


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_is_published_is_read(storage):
    storage.publish("folder/file.bin", b"\x00one\xff")
    assert storage.read("folder/file.bin") == b"\x00one\xff"


def test_an_empty_file_is_a_file(storage):
    storage.publish("empty", b"")
    assert storage.read("empty") == b""


def test_publishing_again_replaces(storage):
    storage.publish("a.txt", b"a long first content")
    storage.publish("a.txt", b"short")
    assert storage.read("a.txt") == b"short"


def test_what_is_missing_is_none(storage):
    assert storage.read("none.txt") is None
    assert storage.read("no/folder/none.txt") is None


def test_a_listing_is_sorted_by_path_of_one_folder_and_suffix(storage):
    for path in ("t/b.parquet", "t/a.parquet", "t/c.txt", "t/deep/d.parquet", "other/e.parquet", "top.parquet"):
        storage.publish(path, b"x")
    assert list(storage.files("t", ".parquet")) == ["t/a.parquet", "t/b.parquet"]


def test_a_listing_of_nothing_is_empty(storage):
    assert storage.files("none", ".parquet") == {}


def test_a_listing_hides_dot_files(storage):
    storage.publish("t/.hidden.parquet", b"x")
    storage.publish("t/seen.parquet", b"x")
    assert list(storage.files("t", ".parquet")) == ["t/seen.parquet"]


def test_a_fingerprint_changes_with_every_publish_and_only_then(storage):
    storage.publish("t/a.parquet", b"one")
    storage.publish("t/b.parquet", b"one")
    before = storage.files("t", ".parquet")
    assert storage.files("t", ".parquet") == before
    storage.publish("t/a.parquet", b"two")
    after = storage.files("t", ".parquet")
    assert after["t/a.parquet"] != before["t/a.parquet"]
    assert after["t/b.parquet"] == before["t/b.parquet"]


def test_a_moved_file_is_at_its_new_place_only(storage):
    storage.publish("t/a", b"x")
    storage.publish("aside/t/a", b"older")
    storage.move("t/a", "aside/t/a")
    assert (storage.read("t/a"), storage.read("aside/t/a")) == (None, b"x")
    storage.move("t/a", "aside/t/a")
    assert storage.read("aside/t/a") == b"x"


def test_pyarrow_reads_the_same_files(storage):
    storage.publish("t/a", b"content")
    filesystem, root = storage.arrow()
    with filesystem.open_input_file(f"{root}/t/a") as file:
        assert file.read() == b"content"


def test_remove(storage):
    storage.publish("t/a", b"x")
    storage.remove("t/a")
    assert storage.read("t/a") is None
    storage.remove("t/a")
    storage.remove("never/there")


def test_a_file_is_created_once(storage):
    assert storage.create("t/lock", b"first")
    assert not storage.create("t/lock", b"second")
    assert storage.read("t/lock") == b"first"
    storage.remove("t/lock")
    assert storage.create("t/lock", b"third")
    assert storage.files("t", "") == storage.files("t", "lock") != {}


@pytest.mark.parametrize(
    "path", ["", "/etc/x", "../x", "t/../../x", "t//x", "./x", "t/.", "t/", "t\\x", "..\\x", "t\0x"]
)
def test_no_path_leads_out_of_the_folder(storage, path):
    uses = [
        lambda: storage.publish(path, b"x"),
        lambda: storage.create(path, b"x"),
        lambda: storage.read(path),
        lambda: storage.files(path, ""),
        lambda: storage.remove(path),
        lambda: storage.move(path, "t/a"),
        lambda: storage.move("t/a", path),
        lambda: storage.child(path),
    ]
    storage.publish("t/a", b"x")
    for use in uses:
        with pytest.raises(SweepError, match=re.escape(f"path {path!r}: it could lead out of its folder")):
            use()
    assert storage.read("t/a") == b"x"


def test_leftovers_are_removed_and_nothing_else_is(storage):
    for path in ("t/a.parquet", "t/.hidden", "t/x.tmp", ".deep/er/.kept.tmp"):
        storage.publish(path, b"x")
    if isinstance(storage, LocalStorage):
        for folder in ("t", ".deep/er"):
            (Path(storage.uri) / folder / ".a.parquet.0123abcd.tmp").write_bytes(b"half")
    storage.remove_leftovers()
    assert [storage.read(path) for path in ("t/a.parquet", "t/.hidden", "t/x.tmp", ".deep/er/.kept.tmp")] == [b"x"] * 4
    if isinstance(storage, LocalStorage):
        assert not list(Path(storage.uri).rglob("*.0123abcd.tmp"))
    storage.child("never").child("there").remove_leftovers()


def test_a_storage_travels_between_processes(storage):
    storage.publish("t/a", b"x")
    assert pickle.loads(pickle.dumps(storage)).read("t/a") == b"x"


def test_a_child_is_the_same_files_one_folder_down(storage):
    storage.child("inside").publish("t/a", b"x")
    assert storage.read("inside/t/a") == b"x"
    assert storage.child("inside").read("t/a") == b"x"
    assert storage.child("inside").uri == f"{storage.uri}/inside"
    assert storage.read("t/a") is None


def test_a_storage_opened_by_its_uri_is_the_same(storage):
    storage.publish("t/a", b"x")
    assert open_storage(storage.uri).read("t/a") == b"x"


@pytest.mark.parametrize("broken", [(os, "fsync"), (os, "replace")])
def test_a_full_disk_leaves_the_old_content_and_no_litter(tmp_path, monkeypatch, broken):
    storage = LocalStorage(tmp_path)
    storage.publish("t/a", b"old")
    with monkeypatch.context() as patch:
        patch.setattr(*broken, no_space)
        with pytest.raises(StorageError, match=r"t/a: cannot write: No space left on device$"):
            storage.publish("t/a", b"new")
    assert storage.read("t/a") == b"old"
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["a"]


def test_content_is_on_disk_before_it_is_visible(tmp_path, monkeypatch):
    """fsync of a new folder's name, of the file, then the rename, then fsync of the folder that holds the name."""
    events = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor):
        events.append("fsync " + Path(f"/proc/self/fd/{descriptor}").readlink().name.partition(".")[0])
        fsync(descriptor)

    def watched_replace(path, target, **folders):
        events.append(f"rename to {Path(target).name}")
        return replace(path, target, **folders)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    LocalStorage(tmp_path).publish("folder/a", b"x")
    assert events == [f"fsync {tmp_path.name}", "fsync ", "rename to a", "fsync folder"]


def test_a_local_path_that_runs_through_a_file_reads_as_missing(tmp_path):
    """So that ``status some_file`` says that there is no sweep."""
    (tmp_path / "file").write_text("x")
    assert LocalStorage(tmp_path / "file").read("spec.yaml") is None


def test_a_file_uri_is_a_local_folder(tmp_path):
    LocalStorage(tmp_path).publish("a", b"x")
    opened = open_storage(f"file://{tmp_path}")
    assert isinstance(opened, LocalStorage)
    assert opened.read("a") == b"x"


def test_a_relative_folder_stays_where_it_was_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    storage = open_storage("here")
    monkeypatch.chdir("/")
    storage.publish("a", b"x")
    assert (tmp_path / "here" / "a").read_bytes() == b"x"


def test_an_unknown_scheme_is_answered():
    with pytest.raises(SweepError, match=r"storage 'floppy://a/b': .*floppy.*give a folder, or a URI"):
        open_storage("floppy://a/b")


def create(folder, name, start, won):
    start.wait()
    won.put(name if LocalStorage(folder).create("lock", name.encode()) else None)


def test_of_many_processes_that_create_one_file_one_does(tmp_path):
    context = multiprocessing.get_context("fork")
    for attempt in range(5):
        start, won = context.Event(), context.Queue()
        names = [f"process {number}" for number in range(8)]
        processes = [context.Process(target=create, args=(tmp_path / str(attempt), n, start, won)) for n in names]
        for process in processes:
            process.start()
        start.set()
        (winner,) = [name for name in [won.get(timeout=HANG_S) for _ in processes] if name]
        for process in processes:
            process.join()
        assert (tmp_path / str(attempt) / "lock").read_text() == winner
        assert [path.name for path in (tmp_path / str(attempt)).iterdir()] == ["lock"]


def test_a_storage_error_travels_between_processes():
    error = StorageError("/sweeps/demo/trials/ab.parquet: cannot write: No space left on device")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (StorageError, str(error))
