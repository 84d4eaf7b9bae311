"""Errors become exit codes in one place, and warnings of ours become messages."""

import errno
import subprocess
import sys
import warnings

import pytest

from orchestrator.cli.exit_codes import run_to_exit_code, show_our_warnings
from orchestrator.errors import (
    LedgerWarning,
    NothingToUnlearnError,
    RunStoppedError,
    StorageError,
    SweepError,
    SweepExistsError,
)
from orchestrator.spec.loading import validate_spec
from tests.orchestrator.helpers import spec_data
from trainables.errors import DataWarning, UnlearningError, UserError


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (SweepError("no sweep"), 2, "no sweep"),
        (UnlearningError("no model"), 2, "no model"),
        (RunStoppedError("stopped"), 1, "stopped"),
        (StorageError("disk"), 1, "disk"),
        (MemoryError("3 GiB"), 1, "this machine has too little memory for this (3 GiB); nothing was changed"),
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), 1, "/a/b No space left on device"),
        (OSError("torn"), 1, "torn"),
    ],
)
def test_an_expected_error_is_one_message_and_the_code_of_its_kind(error, code, message, capsys):
    def app():
        raise error

    with pytest.raises(SystemExit) as ended:
        run_to_exit_code(app)
    assert ended.value.code == code
    assert capsys.readouterr().err == f"unlearn-sweep: {message}\n"


def test_mistakes_of_the_user_share_one_root():
    """``SpaceError`` has none of its own kind above it: a spec's validation takes it in."""
    mistakes = (SweepError, SweepExistsError, NothingToUnlearnError, UnlearningError)
    assert [error for error in mistakes if not issubclass(error, UserError)] == []
    assert not issubclass(RunStoppedError, UserError)
    with pytest.raises(UserError, match=r"search\.space\.learning_rate: a range needs low < high"):
        validate_spec(spec_data(search={"space": {"learning_rate": {"low": 2, "high": 1}}}), "my.yaml")


def test_an_error_of_our_own_code_keeps_its_traceback():
    def app():
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        run_to_exit_code(app)


@pytest.mark.parametrize("category", [LedgerWarning, DataWarning])
def test_our_own_warnings_are_messages_and_others_are_pythons(category, capsys):
    with warnings.catch_warnings():
        show_our_warnings()
        for _ in range(2):
            warnings.warn("one file is damaged", category, stacklevel=1)
    assert capsys.readouterr().err == "unlearn-sweep: one file is damaged\n" * 2
    with warnings.catch_warnings():
        show_our_warnings()
        warnings.simplefilter("always")
        warnings.warn("hostile \x1b[2J", UserWarning, stacklevel=1)
    printed = capsys.readouterr().err
    assert "UserWarning: hostile \\x1b[2J" in printed
    assert "unlearn-sweep:" not in printed


COMMAND = """
import atexit, sys
from orchestrator import cli
from orchestrator.__main__ import main

class Kept:
    def __del__(self):
        print("taken apart")

kept = Kept()

def run():
    atexit.register(print, "a library's last words")
    print("said")  # into a pipe, so it waits to be flushed
    {ending}

cli.main = run
main()
"""


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        ("pass", 0, ""),
        ("sys.exit(0)", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(2)", 2, ""),
        ("sys.exit('why')", 1, "why"),
        ("raise KeyboardInterrupt", 130, ""),
        ("raise ValueError('ours')", 1, "ValueError: ours"),
    ],
)
def test_the_process_ends_with_its_code_and_last_words_without_being_taken_apart(ending, code, said):
    done = subprocess.run([sys.executable, "-c", COMMAND.format(ending=ending)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()) == (code, ["said", "a library's last words"])
    assert done.stderr.strip().endswith(said)
    assert ("Traceback" in done.stderr) == ("ValueError" in ending)
