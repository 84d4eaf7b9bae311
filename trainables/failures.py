"""An exception that ended a trial, as plain data. Light: whoever hears of a failure needs no model library."""

import traceback
from dataclasses import dataclass
from pathlib import Path

from trainables.errors import UnlearningError
from trainables.records import Trial

LONGEST_MESSAGE = 400
"""Characters of a message; the log has the whole."""
LONGEST_TRACEBACK = 60_000
"""Characters of a traceback; the middle of a longer one is left out."""
_WRAPPING = "/ray/util/tracing/"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a trial could not go on. Only texts and numbers, so it travels between processes of any kind."""

    kind: str
    """The name of the exception's type."""
    message: str
    """One line: the type, and the first line of what it says."""
    details: str
    """The traceback."""
    step: int | None
    """Steps that had been taken; None: it is not known, or the trial had not begun."""
    is_users: bool = False
    """It is a user's mistake, which no second try mends."""


class TrialFailedError(Exception):
    """Carries a failure out of a worker that cannot be used any more. Picklable."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        return self.failure.message


def failure_of(error: BaseException, *, trial: Trial | None = None, step: int | None = None) -> Failure:
    """Describe an exception.

    Args:
        error: the exception.
        trial: that it ended; with it, the message on a full GPU says what to lower.
        step: steps that the trial had taken.
    """
    return Failure(
        kind=type(error).__name__,
        message=_message(error, trial),
        details=_shortened(_traceback(error)),
        step=step,
        is_users=isinstance(error, UnlearningError),
    )


def needs_new_process(error: BaseException) -> bool:
    """Tell whether a process is of no use after an exception: an error of CUDA stays in it until it ends."""
    return "CUDA error" in str(error)


def first_line(error: BaseException) -> str:
    """Return an exception as one line: its type, and the first line of what it says."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}..."


def _traceback(error: BaseException) -> str:
    """Write the traceback, without the frames in which Ray wraps every method of an actor."""
    described = traceback.TracebackException.from_exception(error)
    waiting = [described]
    while waiting:
        one = waiting.pop()
        one.stack[:] = [frame for frame in one.stack if _WRAPPING not in Path(frame.filename).as_posix()]
        waiting += [*filter(None, (one.__cause__, one.__context__)), *(one.exceptions or ())]
    return "".join(described.format())


def _message(error: BaseException, trial: Trial | None) -> str:
    if trial is None or not any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return first_line(error)
    said = str(error).partition(". GPU")[0].strip().rstrip(".") or "the memory of the GPU is full"
    passed = trial.config.micro_batch_size or trial.config.batch_size
    return (
        f"{type(error).__name__}: {said}; lower micro_batch_size in search.space (now {passed} examples a pass) or "
        f"evaluation.batch_size, set model.gradient_checkpointing: true, or let fewer trials share a GPU "
        f"(resources.concurrent_trials, resources.gpus_per_trial)"
    )


def _shortened(text: str) -> str:
    if len(text) <= LONGEST_TRACEBACK:
        return text
    half = LONGEST_TRACEBACK // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
