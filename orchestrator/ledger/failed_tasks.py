"""Tasks of a sweep that failed, and not by a user's mistake: what they have said is kept in a log of the sweep."""

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import RunStoppedError, TaskFailedError
from orchestrator.ledger.driver_writer import DriverWriter
from orchestrator.ledger.ledger import Ledger
from orchestrator.safe_text import command
from orchestrator.storage import masked


@contextmanager
def failed_tasks_logged(ledger: Ledger, log: str) -> Iterator[None]:
    """Keep in the sweep what a failed task has said.

    Args:
        ledger: of the sweep.
        log: the log's name.

    Raises:
        RunStoppedError: in place of the task's error; with where its log is.
    """
    try:
        yield
    except TaskFailedError as error:
        raise log_failed_task(ledger, error, log) from None


def log_failed_task(ledger: Ledger, error: TaskFailedError, log: str) -> RunStoppedError:
    """Keep in the sweep what a failed task has said; return an error that says where."""
    try:
        add_failed_task(ledger, error, log)
    except RunStoppedError:  # the storage may be why it failed
        return RunStoppedError(masked(f"{error}\n{error.details}"))
    return RunStoppedError(
        f"{masked(str(error))}\nthe whole of it: {command('logs', ledger.storage.uri, '--trial', log)}"
    )


def add_failed_task(ledger: Ledger, error: TaskFailedError, log: str) -> None:
    """Add what a failed task has said to a log of the sweep.

    Raises:
        StorageError: it cannot be written.
    """
    moment = ledger.now().isoformat(timespec="seconds")
    DriverWriter(ledger).add_to_log(log, masked(f"{moment}\n{error}\n\n{error.details}\n"))
