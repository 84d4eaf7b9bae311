"""Trials that fail: what is told, kept and tried again; and a driver that is killed while Ray starts."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from orchestrator.resources.reaper import marked
from tests.integration import failing
from tests.integration.helpers import INLINE, TINY, rows, start, unlearn_sweep, wait_until
from tests.integration.test_wide import SETTINGS
from tests.limits import HANG_S

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent


def fails(how: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.run(
        [sys.executable, "-m", "tests.integration.failing", how, *arguments],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        env=environment | {"PYTHONPATH": str(ROOT)},
    )


def test_a_sweep_whose_trials_all_fail_alike_stops_and_says_why_and_goes_on_once_mended(storage: Path) -> None:
    sweep = storage / "alike"
    done = fails("early", "run", str(TINY), "--name", sweep.name, "--storage", str(storage))
    assert done.returncode == 1, done.stderr
    assert "the first 3 trials failed alike, and nothing was evaluated" in done.stderr
    assert f"FileNotFoundError: {failing.EARLY}" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    failed = [trial for trial in rows(sweep, "trials") if trial["status"] == "failed"]
    assert [trial["message"] for trial in failed] == [f"FileNotFoundError: {failing.EARLY}"] * 3
    log = unlearn_sweep("logs", str(sweep), "--trial", failed[0]["trial_id"])
    assert log.returncode == 0
    assert log.stdout.count("Traceback (most recent call last)") == 2, "it was tried twice"
    assert "in _in_progress" in log.stdout
    assert "ray/" not in log.stdout, "of the worker, not of Ray"

    mended = unlearn_sweep("resume", str(sweep), "--retry-failed", *INLINE)
    assert mended.returncode == 0, mended.stderr
    assert {trial["status"] for trial in rows(sweep, "trials")} == {"completed"}


def test_trials_that_fail_at_a_step_are_told_in_a_line_each_and_the_others_complete(storage: Path) -> None:
    sweep = storage / "some"
    done = fails("later", "run", str(TINY), "--name", sweep.name, "--storage", str(storage))
    assert done.returncode == 0, done.stderr
    trials = rows(sweep, "trials")
    assert {(t["forget_set"], t["status"]) for t in trials} == {("verses", "failed"), ("personal_data", "completed")}
    failed = [trial for trial in trials if trial["status"] == "failed"]
    assert {(t["message"], t["last_step"]) for t in failed} == {(f"ValueError: {failing.LATER}", failing.LATER_FROM)}
    assert "Traceback" not in done.stdout + done.stderr
    assert "which is told at length" not in done.stdout + done.stderr
    assert f"{len(failed)} of {len(trials)} trials failed" in done.stderr
    logs = [path.read_text() for path in sweep.glob("logs/*.txt")]
    assert [log.count(f"after step {failing.LATER_FROM}\n") for log in logs] == [2] * len(failed), "tried once more"


def test_a_wide_trial_that_fails_says_why_and_is_no_dead_worker(storage: Path) -> None:
    sweep = storage / "wide"
    sets = [part for setting in SETTINGS for part in ("--set", setting)]
    sets += ["--set", "resources.workers_per_trial=2"]
    done = fails("wide", "run", str(TINY), "--name", sweep.name, "--storage", str(storage), *sets)
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
    status = unlearn_sweep("status", str(sweep))
    assert "0 of 8 trials proposed" in status.stdout
    if name == "raylet":
        done = unlearn_sweep("resume", str(sweep))
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
