"""Signals, dying drivers and workers, by Ray: what was committed stands, and going on ends as an unbroken run would."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.integration.helpers import INLINE, TINY, actors, call, rows, start, start_inline, wait_until
from tests.limits import HANG_S

pytestmark = pytest.mark.slow


def committed(sweep: Path) -> int:
    """Count the evaluations that a reader sees."""
    return len(rows(sweep, "evaluations")) if list(sweep.glob("evaluations/*.parquet")) else 0


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=HANG_S)
    return process.returncode, out, err


def assert_same_rows(sweep: Path, whole: Path) -> None:
    for table in ("trials", "evaluations", "examples"):
        assert rows(sweep, table) == rows(whole, table)


def test_stopped_by_each_signal_and_killed_a_sweep_goes_on_and_ends_as_an_unbroken_one(tiny_sweep: Path) -> None:
    """By Ray, and in one process; whichever goes on with what the other left."""
    storage = tiny_sweep.parent
    sweep = storage / "interrupted"
    command = ["run", str(TINY), "--name", sweep.name, "--storage", str(storage)]
    for number, exit_code, begin in (
        (signal.SIGINT, 130, start),
        (signal.SIGTERM, 143, start_inline),
        (signal.SIGKILL, -9, start),
    ):
        before = committed(sweep)
        process = begin(*command)
        wait_until(lambda before=before: committed(sweep) > before, process)
        process.send_signal(number)
        code, _, err = finish(process)
        assert code == exit_code, err
        assert committed(sweep) > before
        if number != signal.SIGKILL:
            assert f"unlearn-sweep resume {sweep}" in err
            assert "Traceback" not in err
            stopped = {trial["trial_id"] for trial in rows(sweep, "trials") if trial["status"] == "stopped"}
            assert stopped, "a trial was under way"
            assert stopped <= {path.stem for path in sweep.glob("checkpoints/*")}
        command = ["resume", sweep.name, "--storage", str(storage)]

    done = call(*command, *INLINE)
    assert done.returncode == 0, done.stderr
    assert_same_rows(sweep, tiny_sweep)
    assert not list(sweep.rglob(".*.tmp"))
    status = json.loads(call("status", str(sweep), "--json").stdout)
    assert (status["statuses"], status["evaluations"], status["driver"]) == ({"completed": 8}, 64, None)


@pytest.mark.parametrize(("max_failures", "statuses"), [(1, {"completed"}), (0, {"completed", "failed"})])
def test_a_killed_worker_restarts_its_trial_or_fails_it_and_the_sweep_goes_on(
    tiny_sweep: Path, max_failures: int, statuses: set[str]
) -> None:
    name = f"killed-{max_failures}"
    sweep = tiny_sweep.parent / name
    settings = [f"resources.max_failures={max_failures}"]
    if not max_failures:
        settings.append("search.trials=2")
    sets = [part for setting in settings for part in ("--set", setting)]
    process = start("run", str(TINY), "--name", name, "--storage", str(tiny_sweep.parent), *sets)
    wait_until(lambda: committed(sweep), process)
    workers = wait_until(lambda: actors(process.pid, "AscentTrainable", "_Inner"), process)
    workers[0].kill()
    code, out, err = finish(process)
    assert code == 0, err + out
    trials = rows(sweep, "trials")
    assert {trial["status"] for trial in trials} == statuses, [trial["message"] for trial in trials]
    if max_failures:
        assert rows(sweep, "evaluations") == rows(tiny_sweep, "evaluations")
    else:
        assert [t["message"] for t in rows(sweep, "trials") if t["status"] == "failed"] != [None]
