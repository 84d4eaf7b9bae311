"""Signals and dying workers: what was committed stands, and resuming ends where an unbroken run would have."""

import json
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.integration.helpers import TINY, rows, start, unlearn_sweep, wait_until

pytestmark = pytest.mark.slow


def committed(sweep: Path) -> list[Path]:
    return list(sweep.glob("evaluations/*.parquet"))


def assert_same_rows(sweep: Path, whole: Path) -> None:
    for table in ("trials", "evaluations", "examples"):
        assert rows(sweep, table) == rows(whole, table)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_stops_in_good_order_and_resume_completes_the_same_sweep(
    tiny_sweep: Path, number: signal.Signals, exit_code: int
) -> None:
    name = f"stopped-by-{number.name}"
    sweep = tiny_sweep.parent / name
    process = start("run", str(TINY), "--name", name, "--storage", str(tiny_sweep.parent))
    wait_until(lambda: committed(sweep), process)
    process.send_signal(number)
    code, _, err = finish(process)
    assert code == exit_code
    assert f"unlearn-sweep resume {sweep}" in err
    assert "Traceback" not in err
    stopped = [trial for trial in rows(sweep, "trials") if trial["status"] == "stopped"]
    assert stopped
    assert {path.stem for path in sweep.glob("checkpoints/*")} >= {trial["trial_id"] for trial in stopped}

    done = unlearn_sweep("resume", name, "--storage", str(tiny_sweep.parent))
    assert done.returncode == 0, done.stderr
    assert_same_rows(sweep, tiny_sweep)


def test_a_killed_driver_leaves_a_sweep_that_goes_on_as_if_nothing_had_happened(tiny_sweep: Path) -> None:
    name = "killed-driver"
    sweep = tiny_sweep.parent / name
    process = start("run", str(TINY), "--name", name, "--storage", str(tiny_sweep.parent))
    wait_until(lambda: committed(sweep), process)
    process.kill()
    process.communicate(timeout=120)

    done = unlearn_sweep("resume", name, "--storage", str(tiny_sweep.parent))
    assert done.returncode == 0, done.stderr
    assert_same_rows(sweep, tiny_sweep)
    assert not list(sweep.rglob(".*.tmp"))
    status = json.loads(unlearn_sweep("status", str(sweep), "--json").stdout)
    assert (status["statuses"], status["evaluations"], status["driver"]) == ({"completed": 8}, 64, None)


def test_a_second_driver_is_refused_by_name_and_disturbs_nothing(tiny_sweep: Path) -> None:
    name = "driven-once"
    sweep = tiny_sweep.parent / name
    process = start("run", str(TINY), "--name", name, "--storage", str(tiny_sweep.parent))
    wait_until(lambda: committed(sweep), process)
    refused = unlearn_sweep("resume", name, "--storage", str(tiny_sweep.parent))
    assert refused.returncode == 2
    assert f"process {process.pid}" in refused.stderr
    assert "--take-over" in refused.stderr
    code, _, err = finish(process)
    assert code == 0, err
    assert_same_rows(sweep, tiny_sweep)


def test_whoever_takes_over_goes_on_and_the_other_stops(tiny_sweep: Path) -> None:
    name = "taken-over"
    sweep = tiny_sweep.parent / name
    first = start("run", str(TINY), "--name", name, "--storage", str(tiny_sweep.parent))
    wait_until(lambda: committed(sweep), first)
    first.send_signal(signal.SIGSTOP)  # it hangs
    done = unlearn_sweep("resume", name, "--storage", str(tiny_sweep.parent), "--take-over")
    assert done.returncode == 0, done.stderr
    first.send_signal(signal.SIGCONT)
    code, _, err = finish(first)
    assert code == 2
    assert "taken over" in err
    assert_same_rows(sweep, tiny_sweep)


@pytest.mark.parametrize(("max_failures", "statuses"), [(1, {"completed"}), (0, {"completed", "failed"})])
def test_a_killed_worker_restarts_its_trial_or_fails_it_and_the_sweep_goes_on(
    tiny_sweep: Path, max_failures: int, statuses: set[str]
) -> None:
    name = f"killed-{max_failures}"
    sweep = tiny_sweep.parent / name
    setting = f"resources.max_failures={max_failures}"
    process = start("run", str(TINY), "--name", name, "--storage", str(tiny_sweep.parent), "--set", setting)
    wait_until(lambda: committed(sweep), process)
    workers = wait_until(lambda: trial_workers(process.pid), process)
    workers[0].kill()
    code, out, err = finish(process)
    assert code == 0, err + out
    trials = rows(sweep, "trials")
    assert {trial["status"] for trial in trials} == statuses, [trial["message"] for trial in trials]
    if max_failures:
        assert rows(sweep, "evaluations") == rows(tiny_sweep, "evaluations")
    else:
        assert [t["message"] for t in rows(sweep, "trials") if t["status"] == "failed"] != [None]


def trial_workers(driver: int) -> list[psutil.Process]:
    """Find the Ray actors of trials under a driver."""
    return [
        process
        for process in psutil.Process(driver).children(recursive=True)
        if any("AscentTrainable" in part or "_Inner" in part for part in process.cmdline()[:1])
    ]
