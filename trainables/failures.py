"""The exception that ended a trial, as plain data. Importing this module loads no model library."""

import traceback
from dataclasses import dataclass
from pathlib import Path

from trainables.errors import UnlearningError
from trainables.records import Trial

LONGEST_MESSAGE = 400
"""Characters of a message; the log has all of it."""
LONGEST_TRACEBACK = 60_000
"""Characters of a traceback; the middle of a longer one is left out."""
_WRAPPER_FRAMES = "/ray/util/tracing/"
"""Files of the frames that Ray wraps around every method of an actor."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a trial failed. It has only texts and numbers, so that it can be sent between any processes."""

    kind: str
    """Name of the exception's type."""
    message: str
    """One line: the exception's type and the first line of its message."""
    details: str
    """The traceback."""
    step: int | None
    """Steps that the trial had taken; None: unknown, or the trial had not begun."""
    is_users: bool = False
    """Whether it is a user's mistake, which a retry cannot repair."""


class TrialFailedError(Exception):
    """Carries a failure out of a worker process that cannot be used any more. It can be pickled."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        return self.failure.message


def failure_of(error: BaseException, *, trial: Trial | None = None, step: int | None = None) -> Failure:
    """Return an exception as a ``Failure``.

    Args:
        error: the exception.
        trial: the trial that it ended; with it, an out-of-memory message says which settings to lower.
        step: number of steps that the trial had taken.
    """
    return Failure(
        kind=type(error).__name__,
        message=_message(error, trial),
        details=_shortened(_traceback(error)),
        step=step,
        is_users=isinstance(error, UnlearningError),
    )


def needs_new_process(error: BaseException) -> bool:
    """Return whether the process must be replaced after an exception: a CUDA error stays until the process ends."""
    return "CUDA error" in str(error)


def first_line(error: BaseException) -> str:
    """Return an exception as one line: its type and the first line of its message."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}..."


def _traceback(error: BaseException) -> str:
    """Return the traceback, without the frames in which Ray wraps every method of an actor."""
    formatted = traceback.TracebackException.from_exception(error)
    to_visit = [formatted]
    while to_visit:
        part = to_visit.pop()
        part.stack[:] = [frame for frame in part.stack if _WRAPPER_FRAMES not in Path(frame.filename).as_posix()]
        to_visit += [*filter(None, (part.__cause__, part.__context__)), *(part.exceptions or ())]
    return "".join(formatted.format())


def _message(error: BaseException, trial: Trial | None) -> str:
    if trial is None or not any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return first_line(error)
    what = str(error).partition(". GPU")[0].strip().rstrip(".") or "the memory of the GPU is full"
    per_pass = trial.config.micro_batch_size or trial.config.batch_size
    return (
        f"{type(error).__name__}: {what}; lower micro_batch_size in search.space (now {per_pass} examples a pass) or "
        f"evaluation.batch_size, set model.gradient_checkpointing: true, or let fewer trials share a GPU "
        f"(resources.concurrent_trials, resources.gpus_per_trial)"
    )


def _shortened(text: str) -> str:
    if len(text) <= LONGEST_TRACEBACK:
        return text
    half = LONGEST_TRACEBACK // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
