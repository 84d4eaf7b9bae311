"""A Ray of a sweep's own: what others see of it, what its workers see, and what is said when it dies."""

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.resources.ray_environment import AHEAD
from tests.integration import lost_ray, session_facts
from tests.integration.helpers import COMMAND, TINY
from tests.limits import HANG_S

MARKER = "MARKER-c0ffee-0123456789"
KEYS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN", "HF_TOKEN",
    "WANDB_API_KEY", "AZURE_STORAGE_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "RAY_AUTH_TOKEN",
)  # fmt: skip
ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.slow


@pytest.fixture
def short() -> Iterator[Path]:
    """A temporary folder that is short enough for a socket; pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder in which modules are named as libraries are."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in (*session_facts.HOSTILE, "ray", "statistics"):
        (folder / f"{name}.py").write_text("raise RuntimeError('a file of the user is taken for a library')\n")
    return folder


def ran(command: list[str], *, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "RAY_TMPDIR")}
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, encoding="utf-8", env=environment | variables, timeout=HANG_S
    )


def script(module: object) -> list[str]:
    return [sys.executable, "-P", str(module.__file__)]


def test_a_session_is_its_owners_alone_and_its_workers_see_libraries_where_they_are_installed(
    short: Path, hostile: Path
) -> None:
    keys = dict.fromkeys(KEYS, MARKER)
    token = hostile / "home" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text("of a cluster")  # for everybody to read, as Ray writes it
    done = ran(
        [*script(session_facts), str(short), MARKER],
        cwd=hostile,
        RAY_TMPDIR=str(short),
        HOME=str(hostile / "home"),
        **keys,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["ahead"] == sorted([AHEAD, "torch", "transformers"]), "workers import before they have work"
    assert facts["logs"] > 1000, "the logs were read"
    assert not facts["marked"]
    assert set(facts["listening"]) <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert facts["mode"] == stat.S_IRWXU
    assert {Path(file).is_relative_to(hostile) for file in facts["modules"].values()} == {False}
    assert facts["left"] == [], "its folder is removed"
    assert {"dashboard.py", "log_monitor.py"} <= set(facts["scripts"])
    assert facts["ended_by_ray"] == [], "one after another, a third of a second each"
    assert (token.read_text(), stat.S_IMODE(token.stat().st_mode)) == ("of a cluster", stat.S_IRUSR | stat.S_IWUSR)


@pytest.mark.parametrize(("process", "way"), [("raylet", "raises"), ("gcs_server", "hangs")])
def test_when_ray_dies_the_run_ends_with_one_message(short: Path, process: str, way: str) -> None:
    done = ran([*script(lost_ray), process, way], cwd=short, RAY_TMPDIR=str(short))
    assert done.returncode == 1
    said = done.stderr.splitlines()
    (folder,) = short.glob("unlearn-*")
    message = f"Ray's process '{process}' has died"
    (line,) = (line for line in said if message in line)
    assert f"{folder}/ray/session_latest/logs" in line
    assert list(folder.glob("ray/session_latest/logs/*")), "the logs are kept"
    assert (said[-2:] == [line, "resume it"]) == (way == "hangs")
    assert "state-dump" not in done.stdout + done.stderr


def test_a_sweep_runs_without_a_home_or_a_short_tmpdir_in_a_hostile_folder_and_an_ascii_locale(
    storage: Path, tiny_sweep: Path, hostile: Path
) -> None:
    """It ends as any other, and nothing of its keys is in its folder, or in what it prints."""
    far = hostile / ("long" * 25)
    far.mkdir()
    keys = {name: MARKER for name in KEYS if name != "RAY_AUTH_TOKEN"}
    locale = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    done = ran(
        [*COMMAND[:1], "-P", *COMMAND[1:], "run", str(TINY), "--name", "beset", "--storage", str(storage)],
        cwd=hostile, TMPDIR=str(far), HOME="/dev/null", **locale, **keys,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert MARKER not in done.stdout + done.stderr + session_facts.texts(storage / "beset")
    assert done.stdout.isascii()
    assert "done: 8 trials" in done.stdout
