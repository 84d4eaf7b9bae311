"""Watching a driver from outside: whether it is alive, and how to ask it to stop."""

import json
import os
import socket
import time
from collections.abc import Callable

from orchestrator.driver.records import Driver, driver_path, last_driver, request_path
from orchestrator.errors import RunStoppedError
from orchestrator.safe_text import command
from orchestrator.storage import Storage

RENEW_EVERY_S = 10.0
"""Seconds between two signs of life of a driver."""
WATCH_S = 6 * RENEW_EVERY_S
"""Seconds without a sign of life, while somebody watches, after which a driver on another machine is taken to be dead.

Only the watcher's own monotonic clock counts: the clocks of two machines may differ by any amount. Whether a driver on
this machine is alive is seen at once.
"""
POLL_S = 0.5
"""Seconds between two looks at a driver that was asked to stop."""


class Watch:
    """Looks again and again at who drives a sweep, without comparing clocks of two machines."""

    def __init__(
        self, storage: Storage, *, silence_s: float = WATCH_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._storage = storage
        self._silence_s = silence_s
        self._clock = clock
        self._seen: tuple[int, Driver] | None = None
        self._since = clock()

    def look(self) -> tuple[int, Driver] | None:
        """Return the driver's number and the driver.

        None: nobody drives the sweep. The last driver has ended, or its process on this machine has, or its file did
        not change for ``silence_s`` while this watch lasted.
        """
        number, driver = last_driver(self._storage)
        if driver is None or not driver.drives():
            return None
        if self._seen != (number, driver):
            self._seen, self._since = (number, driver), self._clock()
        return None if not driver.is_here and self._clock() - self._since >= self._silence_s else self._seen


def request_stop(storage: Storage, *, limit_s: float, silence_s: float = WATCH_S) -> Driver | None:
    """Ask the driver of a sweep, on whatever machine, to stop in good order as SIGTERM does, and wait until it has.

    Returns:
        The driver that stopped; None: nobody drives the sweep, or its driver is dead (see ``Watch``).

    Raises:
        RunStoppedError: it has not stopped within ``limit_s``.
    """
    asked: dict[int, Driver] = {}
    deadline = time.monotonic() + limit_s
    watch = Watch(storage, silence_s=silence_s)
    while True:
        found = watch.look()
        if found is None:
            number, driver = last_driver(storage)
            return asked.get(number) if driver is not None and not driver.drives() else None
        number, driver = found
        if time.monotonic() >= deadline:
            break
        if not driver.token:
            raise RunStoppedError(
                f"{storage.uri}/{driver_path(number)}: cannot be read, so nobody can be asked to stop; "
                f"if nobody drives the sweep: {command('resume', storage.uri, '--take-over')}"
            )
        if number not in asked:  # another may follow meanwhile: a killed driver that is started again
            request = {"host": socket.gethostname(), "pid": os.getpid()}
            storage.publish(request_path(number), json.dumps(request).encode())
            asked[number] = driver
        time.sleep(POLL_S)
    raise RunStoppedError(
        f"{storage.uri}: {driver} was asked to stop {limit_s:.0f} s ago and still drives the sweep; it may wait for a "
        f"storage or a machine that does not answer. If it is dead: {command('resume', storage.uri, '--take-over')}"
    )
