"""The folder of a Ray session: private, short, and chosen where the named one will not do."""

import shutil
import stat
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from orchestrator.errors import RunStoppedError, SweepError
from orchestrator.resources import parent_folder
from orchestrator.resources import session_folder as module
from orchestrator.resources.session_folder import LONGEST_PARENT, SOCKET_LIMIT, session_folder

Usage = namedtuple("Usage", "total used free")
NAMES = ("RAY_TMPDIR", "TMPDIR", "TEMP", "TMP")


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def short():
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        yield Path(folder)


def test_a_session_is_for_its_owner_alone_and_leaves_nothing(short, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(short))
    with session_folder() as folder:
        assert folder.parent == short
        assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IRWXU
        (folder / "ray").mkdir()
    assert not folder.exists()


def test_the_logs_of_a_run_that_had_to_stop_are_kept_and_those_of_a_mistake_are_not(short, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    for error, kept in ((RunStoppedError("ray died"), True), (OSError("odd"), True), (SweepError("a mistake"), False)):
        with pytest.raises(type(error)), session_folder() as folder:
            raise error
        assert folder.exists() == kept


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_too_long_for_a_socket_is_passed_over(name, monkeypatch, tmp_path):
    long = tmp_path / ("x" * LONGEST_PARENT)
    long.mkdir()
    monkeypatch.setenv(name, str(long))
    assert parent_folder() == Path("/tmp")


def test_one_that_is_missing_or_a_file_or_full_is_passed_over(short, monkeypatch):
    full = short / "full"
    full.mkdir()
    (short / "file").touch()
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda f: Usage(1, 1, 0) if f == full else usage(f))
    for name, folder in zip(NAMES, ("none", "file", "full"), strict=False):
        monkeypatch.setenv(name, str(short / folder))
    assert parent_folder() == Path("/tmp")


def test_where_none_will_do_each_is_named_with_what_is_wrong(monkeypatch, tmp_path):
    long = tmp_path / ("x" * LONGEST_PARENT)
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(module, "_usual_folders", lambda: [Path("/proc/none")])
    with pytest.raises(SweepError) as raised:
        parent_folder()
    for part in (f"{long}: its path has", "/proc/none: it cannot be written", "RAY_TMPDIR", str(LONGEST_PARENT)):
        assert part in str(raised.value)


def test_the_longest_folder_leaves_room_for_the_longest_socket_of_ray():
    """Ray names a session by date, time, microseconds and process id."""
    folder = "/" + "x" * (LONGEST_PARENT - 1) + "/unlearn-abcdefgh/ray"
    socket = f"{folder}/session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store"
    assert len(socket) == SOCKET_LIMIT
    assert len("/run/user/65534") <= LONGEST_PARENT
