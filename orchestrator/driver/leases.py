"""The right to drive a sweep: at most one process at a time, by the files ``drivers/<number>.json``.

The driver is the process that made the file of the highest number. Making it is exclusive (``Storage.create``), so of
any number of processes that want to follow a dead or finished driver exactly one does. A driver renews its file while
it lives, and stops when it finds a higher number: somebody took the sweep over. No file is ever removed, so a process
that lost its sweep sees this at once, however late it looks.

A driver whose file is gone has lost its sweep too: the folder was removed or moved. It stops and writes nothing, since
that would bring back a folder with only a part of the sweep.

Two drivers would not damage a ledger (rows are named by their content and published whole), but they would spend
everything twice, and their studies would learn different things.
"""

import contextlib
import os
import signal
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psutil

from orchestrator.driver.fencing import LeaseLostError, gone, require_lease, taken_over
from orchestrator.driver.interrupt import Interrupt
from orchestrator.driver.machine import process_start, this_machine
from orchestrator.driver.records import Driver, decode_driver, driver_path, encode_driver, last_driver, request_path
from orchestrator.driver.watching import RENEW_EVERY_S, WATCH_S, Watch
from orchestrator.errors import LedgerWarning, RunStoppedError, StorageError, SweepError, SweepInterruptedError
from orchestrator.safe_text import command
from orchestrator.storage import Storage

Clock = Callable[[], datetime]


class Lease:
    """The right to drive a sweep, while it is renewed and nobody takes the sweep over."""

    def __init__(self, storage: Storage, number: int, driver: Driver, now: Clock, clock: Callable[[], float]) -> None:
        self.number = number
        self._storage = storage
        self._driver = driver
        self._now = now
        self._clock = clock
        self._began = clock()
        self._needed: set[str] = set()
        self._writing = threading.Lock()

    def needs(self, path: str) -> None:
        """Make the run stop once this file of the sweep, which is there now, is gone."""
        self._needed.add(path)

    def renew(self) -> None:
        """Show a sign of life.

        Raises:
            LeaseLostError: somebody took the sweep over.
            SweepGoneError: the driver's file is gone, or a file that the run ``needs``.
        """
        require_lease(self._storage, self.number)
        for path in sorted(self._needed):
            if self._storage.read(path) is None:
                raise gone(self._storage, path)
        self._write()

    @property
    def stop_is_requested(self) -> bool:
        """Whether somebody has asked this driver, by ``request_stop``, to stop."""
        return self._storage.read(request_path(self.number)) is not None

    def stop_trials(self) -> None:
        """Ask the sweep's trials to stop in good order. They look at every evaluation, and every few seconds."""
        if not self._driver.stopping:
            self._write(stopping=True)

    def end(self) -> None:
        """Release the sweep. If the storage fails, the sweep becomes free later, as after a killed process."""
        with contextlib.suppress(StorageError, LeaseLostError):
            self._write(stopping=True, ended_at=_moment(self._now))

    def _write(self, **changes: Any) -> None:
        with self._writing:
            content = self._storage.read(driver_path(self.number))
            if content is None:
                raise gone(self._storage, driver_path(self.number))
            holder = decode_driver(content)
            if holder.token != self._driver.token:  # the store has no conditional writes, or the sweep is a new one
                raise taken_over(self._storage, holder)
            driven_s = round(max(0.0, self._clock() - self._began), 3)
            self._driver = replace(self._driver, renewed_at=_moment(self._now), driven_s=driven_s, **changes)
            self._storage.publish(driver_path(self.number), encode_driver(self._driver))


@contextmanager
def lease(
    storage: Storage,
    sweep: str,
    interrupt: Interrupt,
    *,
    take_over: bool = False,
    probing: bool = False,
    renew_every_s: float = RENEW_EVERY_S,
    watch_s: float = WATCH_S,
    now: Clock = lambda: datetime.now(UTC),
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Lease]:
    """Drive the sweep while the block runs.

    A thread renews the lease. It asks ``interrupt`` to stop if the lease is lost, or if somebody asked for a stop.

    Args:
        storage: the sweep's folder.
        sweep: its name, for messages.
        interrupt: the reason to stop, which the run looks at while it waits.
        take_over: follow a driver that has not ended and is not known to be dead.
        probing: whether this process only probes models, so that its time is not the search's.
        renew_every_s: seconds between two signs of life.
        watch_s: see ``WATCH_S``.
        now: returns the time, for the driver's file.
        clock: returns seconds that only grow, to measure how long the sweep is driven.

    Raises:
        SweepError: another process drives the sweep; the message names it, and says how to take over.
    """
    held = _acquire(storage, sweep, take_over=take_over, probing=probing, watch_s=watch_s, now=now, clock=clock)
    done = threading.Event()

    def renew() -> None:
        with interrupt.on(RunStoppedError):
            while not done.wait(renew_every_s):
                held.renew()
                if held.stop_is_requested:
                    interrupt.stop(SweepInterruptedError(signal.SIGTERM))

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield held
    finally:
        done.set()
        thread.join(timeout=renew_every_s)  # it may wait for a store that does not answer
        if not isinstance(interrupt.reason, LeaseLostError):
            held.end()


def require_undriven(storage: Storage, sweep: str, *, take_over: bool = False) -> None:
    """Refuse a sweep that another process of this machine drives. ``lease`` also finds drivers on other machines.

    Raises:
        SweepError: another process drives the sweep; the message names it, and says how to take over.
    """
    holder = last_driver(storage)[1]
    if holder is not None and holder.is_here and holder.drives() and not take_over:
        raise _driven(storage, sweep, holder)


def _driven(storage: Storage, sweep: str, holder: Driver) -> SweepError:
    return SweepError(
        f"sweep '{sweep}' at {storage.uri} is driven by {holder}\n"
        f"to stop it: {command('stop', storage.uri)}\n"
        f"if it must not go on: {command('resume', storage.uri, '--take-over')}"
    )


def _acquire(
    storage: Storage,
    sweep: str,
    *,
    take_over: bool,
    probing: bool,
    watch_s: float,
    now: Clock,
    clock: Callable[[], float],
) -> Lease:
    while True:
        last, holder = last_driver(storage)
        in_charge = holder is not None and holder.drives() and not take_over
        if holder is not None and in_charge and _lives(storage, last, holder, watch_s):
            raise _driven(storage, sweep, holder)
        moment = _moment(now)
        mine = Driver(
            token=uuid.uuid4().hex,
            host=socket.gethostname(),
            machine=this_machine(),
            pid=os.getpid(),
            process_started=process_start(psutil.Process()),
            since=moment,
            renewed_at=moment,
            probing=probing,
        )
        if storage.create(driver_path(last + 1), encode_driver(mine)):
            return Lease(storage, last + 1, mine, now, clock)
        take_over = False  # somebody was faster, and is alive


def _lives(storage: Storage, number: int, holder: Driver, watch_s: float) -> bool:
    """Return whether a driver is alive: on this machine at once, on another after watching it.

    A driver that was only slow will find that it was followed, and stop.
    """
    if holder.is_here or not holder.token:
        return True
    warnings.warn(f"looking for up to {watch_s:.0f} s whether the driver on {holder.host} lives", LedgerWarning, 2)
    watch = Watch(storage, silence_s=watch_s)
    while (found := watch.look()) is not None:
        if found != (number, holder):
            return True
        time.sleep(min(1.0, watch_s))
    return False


def _moment(now: Clock) -> str:
    return now().isoformat(timespec="seconds")
