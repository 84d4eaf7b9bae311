"""Why a run has to stop: a first SIGINT or SIGTERM, or what a thread found. A second signal ends it at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from orchestrator.errors import SweepInterruptedError


class Interrupt:
    """The first reason to stop, if there is one. Code that waits for something looks here; any thread may set it."""

    def __init__(self) -> None:
        self.reason: Exception | None = None
        """The first reason to stop; None: the run goes on."""
        self.waits_for = "what is under way"
        """What a signal would have to wait for now, and how long at most; the user is told at once."""

    def stop(self, reason: Exception) -> None:
        """Ask the run to stop in good order. If it was asked before, the first reason stays."""
        self.reason = self.reason or reason

    def raise_if_set(self) -> None:
        """Raise the reason to stop, if there is one.

        Raises:
            Exception: the reason.
        """
        if self.reason is not None:
            raise self.reason

    @contextmanager
    def on(self, *kinds: type[Exception]) -> Iterator[None]:
        """Take errors of these kinds as the reason to stop, where raising them would break Tune's loop."""
        try:
            yield
        except kinds as error:
            self.stop(error)


@contextmanager
def catch_signals(interrupt: Interrupt) -> Iterator[None]:
    """Make the first signal ask to stop while the block runs. Nothing is caught outside the main thread.

    The user is told what the run waits for, and that a second signal ends the process at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def restore() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the one that Ray has put in place

    def stop(number: int, _: FrameType | None) -> None:
        interrupt.stop(SweepInterruptedError(number))
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, end)
        _tell(f"stopping: waiting for {interrupt.waits_for}. Ctrl-C again ends at once")

    def end(number: int, frame: FrameType | None) -> None:
        restore()
        _tell("ending now; what was committed stands")
        if number == signal.SIGINT:
            signal.default_int_handler(number, frame)
        os.kill(os.getpid(), number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop if interrupt.reason is None else end)
    try:
        yield
    finally:
        restore()


@contextmanager
def clear_of(display: Callable[[], int]) -> Iterator[None]:
    """Keep messages about signals clear of a live display while the block runs.

    Args:
        display: returns how many lines above the cursor the display erases at most when it is drawn again.
    """
    _displays.append(display)
    try:
        yield
    finally:
        _displays.remove(display)


_displays: list[Callable[[], int]] = []


def _tell(message: str) -> None:
    """Write to standard error without any object that the interrupted code may be using."""
    below = "\n" * (1 + sum(display() for display in _displays))
    with contextlib.suppress(OSError):
        os.write(2, f"\nunlearn-sweep: {message}{below}".encode())
