"""Fencing: what a driver and its trials check before they write, so that none writes to a sweep that it has lost."""

import socket
from dataclasses import dataclass

import pyarrow as pa

from orchestrator.driver.records import FOLDER, Driver, decode_driver, driver_path
from orchestrator.errors import RunStoppedError, SweepGoneError
from orchestrator.storage import Storage
from trainables.errors import ResultsError


class LeaseLostError(RunStoppedError, ResultsError):
    """Another process took the sweep over: this one, and its trials, begin no further write."""


@dataclass(frozen=True, kw_only=True)
class FencedStorage:
    """A sweep's storage, for writing. Before each write it makes sure that the driver still has the sweep.

    Every write raises ``LeaseLostError`` where another driver has followed, and ``SweepGoneError`` where the driver's
    file is gone.
    """

    storage: Storage
    driver: int | None
    """Number of the driver's lease; None: nothing is checked."""

    def require_lease(self) -> None:
        """Raise an error if the driver has lost its sweep."""
        if self.driver is not None:
            require_lease(self.storage, self.driver)

    def publish(self, path: str, content: bytes | pa.Buffer) -> None:
        """See ``Storage``."""
        self.require_lease()
        self.storage.publish(path, content)

    def create(self, path: str, content: bytes) -> bool:
        """See ``Storage``."""
        self.require_lease()
        return self.storage.create(path, content)

    def remove(self, path: str) -> None:
        """See ``Storage``."""
        self.require_lease()
        self.storage.remove(path)


def require_lease(storage: Storage, number: int) -> None:
    """Make sure that a driver still has its sweep.

    Raises:
        LeaseLostError: another driver has followed; the message names it.
        SweepGoneError: the driver's file is gone, or this machine sees another storage.
    """
    files = storage.files(FOLDER, ".json")
    content = storage.read(driver_path(number + 1)) if driver_path(number + 1) in files else None
    if content is not None:
        raise taken_over(storage, decode_driver(content))
    if driver_path(number) not in files:
        raise gone(storage, driver_path(number))


def is_stopping(storage: Storage, number: int) -> bool:
    """Return whether a driver has asked its trials to stop.

    Raises:
        LeaseLostError: another driver has followed.
        SweepGoneError: the driver's file is gone, or this machine sees another storage.
    """
    require_lease(storage, number)
    content = storage.read(driver_path(number))
    if content is None:
        raise gone(storage, driver_path(number))
    return decode_driver(content).stopping


def taken_over(storage: Storage, other: Driver) -> LeaseLostError:
    """Return the error of a run whose sweep another driver has taken over."""
    return LeaseLostError(f"{storage.uri}: the sweep was taken over by {other}; this run has stopped")


def gone(storage: Storage, path: str) -> SweepGoneError:
    """Return the error of a run that does not find a file of its sweep any more."""
    return SweepGoneError(
        f"{storage.uri}: {socket.gethostname()} sees no {path}, which the sweep had: its folder was removed or moved "
        f"while it ran, or this machine sees another storage, and every machine must see the same storage; this run "
        f"has stopped and writes nothing more. Put the folder back and resume it, or run the spec anew"
    )
