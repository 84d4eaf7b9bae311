"""SIGINT and SIGTERM as a flag: the first one asks the sweep to stop in good order, the second one ends it at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from orchestrator.errors import SweepInterruptedError


class Interrupt:
    """Which signal asked to stop, if any."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def raise_if_set(self) -> None:
        """Leave what is being waited for.

        Raises:
            SweepInterruptedError: a signal has come.
        """
        if self.signal_number is not None:
            raise SweepInterruptedError(self.signal_number)


@contextmanager
def catch_signals() -> Iterator[Interrupt]:
    """Watch for signals while the block runs (main thread only; elsewhere nothing is caught)."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _: FrameType | None) -> None:
        interrupt.signal_number = number
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield interrupt
    finally:
        restore()
