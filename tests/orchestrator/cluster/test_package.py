"""What is sent with a job is enough to run it, whatever version is installed there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cluster import package
from orchestrator.cluster.package import SPEC_FILE, write_package
from orchestrator.preparation import source_hash
from orchestrator.preparation.code_fingerprint import deciding_sources
from orchestrator.spec import dump_spec, load_spec

REPOSITORY = Path(__file__).parents[3]
WHO = """
import json
from importlib.metadata import version
import orchestrator
from orchestrator.preparation.provenance import code_state, source_hash
print(json.dumps([orchestrator.__file__, version("unlearn-sweep"), source_hash(), code_state()["commit"]]))
"""


def write(folder: Path) -> Path:
    folder.mkdir()
    write_package(folder, dump_spec(load_spec("demo")))
    return folder


def test_the_code_that_went_along_runs_and_knows_its_version_and_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "code_state", lambda: {"commit": "c0ffee", "dirty": False})
    folder = write(tmp_path / "job")
    done = subprocess.run([sys.executable, "-c", WHO], cwd=folder, capture_output=True, text=True, check=True)
    file, version, sources, commit = json.loads(done.stdout)
    assert Path(file).is_relative_to(folder)
    assert (version, sources, commit) == ("0.1.0", source_hash(), "c0ffee")


def test_a_changed_checkout_is_of_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "code_state", lambda: {"commit": "c0ffee", "dirty": True})
    assert not list(write(tmp_path / "job").glob("*.dist-info/direct_url.json"))


def test_the_spec_goes_along_whole_and_caches_do_not(tmp_path: Path) -> None:
    folder = write(tmp_path / "job")
    assert load_spec(folder / SPEC_FILE) == load_spec("demo")
    assert not list(folder.rglob("__pycache__"))
    assert (folder / "search_spaces" / "demo.yaml").exists()


def test_the_modules_that_decide_numbers_go_along(tmp_path: Path) -> None:
    folder = write(tmp_path / "job")
    here = [path.relative_to(REPOSITORY) for path in deciding_sources()]
    assert [path.relative_to(folder) for path in deciding_sources(folder)] == here
