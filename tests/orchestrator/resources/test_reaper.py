"""What a process has started ends with it: when it is killed at any moment, and when it ends as it should."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from orchestrator.resources.reaper import marked, reaped
from tests.limits import HANG_S

PROGRAM = """
import os, subprocess, sys, time
from orchestrator.resources.reaper import reaped
with reaped("session of a test"):
    children = [subprocess.Popen(["sleep", "600"], start_new_session=True) for _ in range(2)]
    print(*(child.pid for child in children), flush=True)
    {then}
"""


def started(then):
    process = subprocess.Popen([sys.executable, "-c", PROGRAM.format(then=then)], stdout=subprocess.PIPE, text=True)
    return process, [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process_leaves_none_of_those_that_it_started(number):
    process, children = started("time.sleep(600)")
    assert len(children) == 2
    reaper = psutil.Process(process.pid).children()
    process.send_signal(number)
    assert psutil.wait_procs(children, timeout=HANG_S)[1] == []
    assert psutil.wait_procs(reaper, timeout=HANG_S)[1] == [], "nor does the one that ended them stay"
    process.wait(timeout=HANG_S)


def test_what_is_left_at_the_end_of_the_block_ends_too():
    process, children = started("pass")
    assert process.wait(timeout=HANG_S) == 0
    assert psutil.wait_procs(children, timeout=HANG_S)[1] == []


def test_processes_of_another_session_stay(monkeypatch):
    other = subprocess.Popen(["sleep", "600"], env={**os.environ, "UNLEARN_SWEEP_SESSION": "session of another test"})
    with reaped("of this test"):
        assert marked("UNLEARN_SWEEP_SESSION=of this test") == []
    assert other.poll() is None
    assert "UNLEARN_SWEEP_SESSION" not in os.environ
    other.kill()
    other.wait()
