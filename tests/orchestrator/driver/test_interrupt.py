"""Signals to a run: the first says at once what it waits for, the second that it ends now, and does."""

import os
import signal
import subprocess
import sys

import pytest

from orchestrator.driver import Interrupt, catch_signals
from orchestrator.errors import SweepInterruptedError
from tests.limits import HANG_S


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_says_at_once_what_it_waits_for(number, capfd):
    interrupt = Interrupt()
    interrupt.waits_for = "the trials, at most 30 s"
    with catch_signals(interrupt):
        os.kill(os.getpid(), number)
        assert "stopping: waiting for the trials, at most 30 s. Ctrl-C again ends at once" in capfd.readouterr().err
    assert isinstance(interrupt.reason, SweepInterruptedError)
    assert interrupt.reason.signal_number == number


def test_the_second_signal_says_that_it_ends_and_does(capfd):
    with pytest.raises(KeyboardInterrupt), catch_signals(Interrupt()):
        os.kill(os.getpid(), signal.SIGINT)
        capfd.readouterr()
        os.kill(os.getpid(), signal.SIGINT)
    assert "ending now; what was committed stands" in capfd.readouterr().err


def test_the_second_sigterm_ends_the_process():
    program = (
        "import os, signal\nfrom orchestrator.driver.interrupt import *\n"
        "with catch_signals(Interrupt()):\n    [os.kill(os.getpid(), signal.SIGTERM) for _ in range(2)]\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=HANG_S)
    assert done.returncode == -signal.SIGTERM
    assert "ending now" in done.stderr


def test_a_signal_after_the_first_ends_also_where_signals_are_caught_anew(capfd):
    """Ray puts handlers of its own in place when it starts, so a run catches them once more."""
    interrupt = Interrupt()
    with pytest.raises(KeyboardInterrupt), catch_signals(interrupt):
        os.kill(os.getpid(), signal.SIGINT)
        with catch_signals(interrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert "ending now" in capfd.readouterr().err
