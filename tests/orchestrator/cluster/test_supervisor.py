"""A driver that is killed is restarted; one that ends by itself, or was asked to stop, is not."""

import os
import signal
import subprocess
import sys

import pytest

from orchestrator.cluster import supervisor
from tests.limits import HANG_S

SUPERVISE = """
import sys
from orchestrator.cluster.supervisor import supervise
first, again = ([sys.executable, "-c", code] for code in sys.argv[2:])
sys.exit(supervise(first, again, retries=int(sys.argv[1])))
"""
KILLED = "import os, signal; print('killed', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
ENDS = "print('again', flush=True); raise SystemExit({})"


def start(retries: int, first: str, again: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SUPERVISE, str(retries), first, again]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def supervised(retries: int, first: str, again: str) -> tuple[int, list[str], str]:
    process = start(retries, first, again)
    out, err = process.communicate(timeout=HANG_S)
    return process.returncode, out.split(), err


@pytest.mark.parametrize("code", [0, 2, 143])
def test_a_driver_that_ends_by_itself_is_not_started_again(code: int) -> None:
    assert supervised(3, f"raise SystemExit({code})", KILLED)[:2] == (code, [])


def test_a_killed_driver_goes_on_and_its_ending_is_the_jobs() -> None:
    code, out, err = supervised(1, KILLED, ENDS.format(2))
    assert (code, out) == (2, ["killed", "again"])
    assert "ended by SIGKILL" in err


def test_it_is_not_started_again_for_ever() -> None:
    assert supervised(2, KILLED, KILLED)[:2] == (128 + signal.SIGKILL, ["killed"] * 3)


def test_a_stop_that_was_asked_for_is_no_reason_to_go_on() -> None:
    """Ray sends the signal to every process of a job; here the driver has no handler yet."""
    process = start(3, "import os, time; print(os.getpid(), flush=True); time.sleep(600)", ENDS.format(0))
    assert process.stdout is not None
    driver = int(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    os.kill(driver, signal.SIGTERM)
    assert process.wait(timeout=HANG_S) == 128 + signal.SIGTERM
    assert process.stdout.read() == ""


def test_run_goes_on_by_run_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(supervisor, "supervise", lambda *commands, retries: seen.append((*commands, retries)) or 0)
    supervisor.main("2", "run", "sweep.yaml")
    supervisor.main("0", "resume", "s3://b/demo")
    python = [sys.executable, "-m", "orchestrator"]
    assert seen == [
        ([*python, "run", "sweep.yaml"], [*python, "run", "sweep.yaml", "--resume"], 2),
        ([*python, "resume", "s3://b/demo"], [*python, "resume", "s3://b/demo"], 0),
    ]
