"""Tasks that run in this process: one that fails is reported as ``fetch`` reports those of Ray. It loads no Ray."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import RunStoppedError, SweepInterruptedError, TaskFailedError
from trainables.errors import UserError
from trainables.failures import first_line


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Make one message of an exception that does not explain itself, as of a task that failed elsewhere.

    Raises:
        TaskFailedError: with the traceback, for the sweep's log.
    """
    try:
        yield
    except (UserError, RunStoppedError, SweepInterruptedError):
        raise
    except Exception as error:
        raise TaskFailedError(f"{what} failed: {first_line(error)}", traceback.format_exc()) from error
