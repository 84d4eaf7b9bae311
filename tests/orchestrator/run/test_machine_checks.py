"""What doctor says of the machine: each disorder is a check that fails, with what to do."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import SweepError
from orchestrator.run import doctor, machine_checks
from orchestrator.run.machine_checks import MACHINE_CHECKS


def test_a_sound_machine_passes_all():
    assert {name: check.found for name, check in looked().items() if not check.ok} == {}
    assert set(MACHINE_CHECKS) <= set(looked())


def looked():
    def no_cluster(*_, **__):
        raise SweepError("no cluster in this test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "ray_session", no_cluster)
        return {
            check.name: check for check in doctor.examine(None, storage="s", workers=None) if check.name != "cluster"
        }


def limited(kind, hard, monkeypatch):
    limit = resource.getrlimit
    monkeypatch.setattr(resource, "getrlimit", lambda k: (hard, hard) if k == kind else limit(k))


def test_few_open_files_and_little_address_space_are_named_with_the_remedy(monkeypatch):
    for kind, hard, remedy in (
        (resource.RLIMIT_NOFILE, 256, "ulimit -n"),
        (resource.RLIMIT_AS, 2**32, "ulimit -v unlimited"),
    ):
        with monkeypatch.context() as patch:
            limited(kind, hard, patch)
            check = looked()["limits"]
        assert not check.ok
        assert remedy in check.found


def test_a_home_that_cannot_be_written_is_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", "/proc/none/.cache/huggingface")
    check = looked()["home"]
    assert not check.ok
    assert "set HF_HOME, or HOME" in check.found


def test_no_shared_memory_fails_and_little_is_noted(monkeypatch, tmp_path):
    monkeypatch.setattr(machine_checks, "SHARED_MEMORY", Path("/proc/none/shm"))
    assert "mount a tmpfs" in looked()["shared memory"].found
    assert not looked()["shared memory"].ok
    monkeypatch.setattr(machine_checks, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr(machine_checks, "ENOUGH_SHARED", 2**60)
    assert looked()["shared memory"].ok
    assert "--shm-size" in looked()["shared memory"].found


def test_a_temporary_folder_that_is_passed_over_is_said_so(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("x" * 200)))
    check = looked()["temporary folder"]
    assert check.ok
    assert "is passed over: its path has" in check.found


def test_a_locale_without_utf_8_is_said_so():
    code = (
        "import json; from orchestrator.run.machine_checks import MACHINE_CHECKS as m; print(json.dumps(m['locale']()))"
    )
    poor = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PATH": ""}
    for variables, part in ((poor, "export LC_ALL=C.UTF-8"), ({"PYTHONUTF8": "1"}, "utf-8")):
        done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
        assert part in json.loads(done.stdout)
