"""A sweep without Ray, in one process, which a signal stops, or which hangs while another takes over."""

import signal
from pathlib import Path

import pytest

from tests.integration.helpers import INLINE, TINY, call, rows, start_inline, wait_until
from tests.limits import HANG_S

pytestmark = pytest.mark.slow

TABLES = ("trials", "evaluations", "examples")


def test_a_signal_stops_it_in_good_order_and_a_resume_ends_as_an_unbroken_one(tiny_sweep: Path, storage: Path) -> None:
    sweep = storage / "inline-stopped"
    process = start_inline("run", str(TINY), "--name", sweep.name, "--storage", str(storage))
    wait_until(lambda: list(sweep.glob("evaluations/*.parquet")), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 130, err
    assert f"unlearn-sweep resume {sweep}" in err
    assert "Traceback" not in err
    stopped = {trial["trial_id"] for trial in rows(sweep, "trials") if trial["status"] == "stopped"}
    assert len(stopped) == 1, "a trial was under way"
    assert stopped <= {path.stem for path in sweep.glob("checkpoints/*")}
    done = call("resume", str(sweep), *INLINE)
    assert done.returncode == 0, done.stderr
    for table in TABLES:
        assert rows(sweep, table) == rows(tiny_sweep, table)


def test_a_second_driver_is_refused_by_name_and_one_that_takes_over_goes_on_alone(tiny_sweep: Path) -> None:
    storage = tiny_sweep.parent
    sweep = storage / "driven"
    first = start_inline("run", str(TINY), "--name", sweep.name, "--storage", str(storage))
    wait_until(lambda: list(sweep.glob("evaluations/*.parquet")), first)
    first.send_signal(signal.SIGSTOP)  # it hangs
    refused = call("resume", sweep.name, "--storage", str(storage))
    assert refused.returncode == 2
    assert f"process {first.pid}" in refused.stderr
    assert "--take-over" in refused.stderr
    done = call("resume", sweep.name, "--storage", str(storage), "--take-over", *INLINE)
    assert done.returncode == 0, done.stderr
    first.send_signal(signal.SIGCONT)
    _, err = first.communicate(timeout=HANG_S)
    assert first.returncode == 1, err
    assert "taken over" in err
    for table in TABLES:
        assert rows(sweep, table) == rows(tiny_sweep, table)


def test_a_command_that_a_test_calls_starts_no_ray(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="in a process of its own"):
        call("run", str(TINY), "--storage", str(tmp_path))
