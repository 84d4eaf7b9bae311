"""A folder appears whole or not at all, errors and crashes included."""

import os
import stat
import subprocess
import sys

import pytest

from orchestrator.errors import SweepError
from orchestrator.export.new_folder import MARKER, new_folder

WRITER = """
import sys
from pathlib import Path
from orchestrator.export.new_folder import new_folder
with new_folder(Path(sys.argv[1]), overwrite=True) as folder:
    (folder / "model.safetensors").write_bytes(b"half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def write(target, content, *, overwrite=False):
    with new_folder(target, overwrite=overwrite) as folder:
        (folder / MARKER).write_text(content)
        (folder / "inside").mkdir()
        (folder / "inside" / "file").write_text(content)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_there_with_all_that_was_written(tmp_path):
    write(tmp_path / "new" / "model", "first")
    assert names(tmp_path / "new") == ["model"]
    assert (tmp_path / "new" / "model" / "inside" / "file").read_text() == "first"


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "model").mkdir()
    write(tmp_path / "model", "first")
    assert names(tmp_path / "model") == ["inside", MARKER]


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="no"), new_folder(tmp_path / "model", overwrite=False) as folder:
        (folder / "file").write_text("half")
        raise ValueError("no")
    assert names(tmp_path) == []


def test_an_earlier_export_is_replaced_only_when_asked_for(tmp_path):
    write(tmp_path / "model", "first")
    with pytest.raises(SweepError, match="add --overwrite"):
        write(tmp_path / "model", "second")
    assert (tmp_path / "model" / MARKER).read_text() == "first"
    write(tmp_path / "model", "second", overwrite=True)
    assert (tmp_path / "model" / MARKER).read_text() == "second"
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_export_is_never_replaced(tmp_path, kind):
    target = tmp_path / "thesis"
    if kind == "folder":
        target.mkdir()
        (target / "chapter").write_text("mine")
    else:
        target.write_text("mine")
    with pytest.raises(SweepError, match="something else than an earlier export"):
        write(target, "first", overwrite=True)
    assert names(tmp_path) == ["thesis"]


def test_what_came_to_be_there_meanwhile_is_not_replaced(tmp_path):
    with pytest.raises(SweepError, match="add --overwrite"), new_folder(tmp_path / "model", overwrite=False) as folder:
        (folder / MARKER).write_text("late")
        write(tmp_path / "model", "first")
    assert (tmp_path / "model" / MARKER).read_text() == "first"
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("before", [None, "first"])
def test_a_sigkill_leaves_no_half_folder_under_the_name(tmp_path, before):
    target = tmp_path / "model"
    if before is not None:
        write(target, before)
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "writing\n"
        process.kill()
    assert names(tmp_path) != [] and all(name.startswith(".model.") for name in names(tmp_path) if name != "model")
    if before is None:
        assert not target.exists()
    else:
        assert (target / MARKER).read_text() == before
        assert names(target) == ["inside", MARKER]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_every_file_has_the_mode_of_a_new_one(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with new_folder(tmp_path / "model", overwrite=False) as folder:
            (folder / "inside").mkdir()
            for path in (folder / "model.safetensors", folder / "inside" / "more.safetensors"):
                path.touch(mode=0o600)  # as safetensors does
            (folder / "config.json").touch()
    finally:
        os.umask(before)
    found = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert found == {mode}
