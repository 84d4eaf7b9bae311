"""Wide trials that fail, by Ray; and a driver that is killed while Ray starts."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from orchestrator.resources.reaper import marked
from tests.integration import failing
from tests.integration.helpers import INLINE, TINY, call, rows, start, wait_until
from tests.integration.test_wide import SETTINGS
from tests.limits import HANG_S

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent


def fails(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.run(
        [sys.executable, "-m", "tests.integration.failing", *arguments],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        env=environment | {"PYTHONPATH": str(ROOT)},
    )


def test_a_wide_trial_that_fails_says_why_and_is_no_dead_worker(storage: Path) -> None:
    sweep = storage / "wide"
    sets = [part for setting in SETTINGS for part in ("--set", setting)]
    sets += ["--set", "resources.workers_per_trial=2"]
    done = fails("run", str(TINY), "--name", sweep.name, "--storage", str(storage), *sets)
    assert done.returncode == 1, done.stderr
    assert f"every trial failed\n  1 of: ValueError: {failing.LATER}; see " in done.stderr
    (log,) = sweep.glob("logs/*.txt")
    assert log.read_text().count("raise ValueError(LATER)") == 2, "it was tried twice, and the leader has the traceback"


@pytest.mark.parametrize("name", ["gcs_server", "raylet", "python"])
def test_a_driver_that_is_killed_while_ray_starts_leaves_no_process_and_a_sweep_that_goes_on(
    storage: Path, name: str
) -> None:
    sweep = storage / f"killed-with-{name}"
    driver = start("run", str(TINY), "--name", sweep.name, "--storage", str(storage))
    session = wait_until(lambda: session_with(driver.pid, name), driver)
    driver.kill()
    driver.communicate(timeout=HANG_S)
    waiting = [psutil.Process(pid) for pid in marked(f"UNLEARN_SWEEP_SESSION={session}") if psutil.pid_exists(pid)]
    assert psutil.wait_procs(waiting, timeout=HANG_S)[1] == []
    assert marked(f"UNLEARN_SWEEP_SESSION={session}") == []
    assert (sweep / "spec.yaml").exists()
    status = call("status", str(sweep))
    assert "0 of 8 trials proposed" in status.stdout
    if name == "raylet":
        done = call("resume", str(sweep), *INLINE)
        assert done.returncode == 0, done.stderr
        assert {trial["status"] for trial in rows(sweep, "trials")} == {"completed"}


def session_with(driver: int, name: str) -> str | None:
    """Find the session of a driver's Ray, once a process of this name is among those that it has started."""
    for process in psutil.Process(driver).children(recursive=True):
        try:
            session = process.environ().get("UNLEARN_SWEEP_SESSION")
            if session is not None and process.name().startswith(name):
                return session
        except psutil.Error:  # it has ended, or has not begun
            continue
    return None
