"""The files ``drivers/<number>.json``: who drives a sweep and who did, and how to ask the driver to stop."""

import contextlib
import json
import math
import os
import re
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pydantic import TypeAdapter

from orchestrator.errors import IrregularFileError, RunStoppedError
from orchestrator.safe_text import command
from orchestrator.storage import Storage

FOLDER = "drivers"
RENEW_EVERY_S = 10.0
"""Seconds between two signs of life of a driver."""
WATCH_S = 6 * RENEW_EVERY_S
"""A driver on another machine that shows no sign of life for so long, while one watches, is taken to be dead. Only the
watcher's own monotonic clock counts: the clocks of two machines may differ by any amount. Whether a driver on this
machine lives is seen at once."""
POLL_S = 0.5
"""Seconds between two looks at a driver that was asked to stop."""
SAME_START_S = 2.0
"""Processes of one number whose starts differ by more are two processes."""


@dataclass(frozen=True, kw_only=True)
class Driver:
    """A process that drives a sweep, or did."""

    token: str
    """Tells one attempt to drive from any other."""
    host: str
    machine: str
    """Of one boot and one process namespace, where process numbers mean the same."""
    pid: int
    process_started: float
    """Seconds since the machine's boot, by whatever clock."""
    since: str
    renewed_at: str
    stopping: bool = False
    """It has asked its trials to stop."""
    ended_at: str | None = None
    driven_s: float | None = None
    """For how long it has driven the sweep, by its monotonic clock; None: written by an older version."""

    def drives(self) -> bool:
        """Tell whether it may still have the sweep: it has not ended, and is not a process of this machine that died.

        One on another machine may be dead all the same; ``Watch`` finds out.
        """
        return self.ended_at is None and (not self.is_here or self._process_lives())

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine, where its process can be looked up."""
        return self.machine == this_machine()

    def _process_lives(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            same = abs(process_start(process) - self.process_started) <= SAME_START_S
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def __str__(self) -> str:
        last = f"last sign of life {self.renewed_at}, by its clock"
        return f"host {self.host}, process {self.pid}, since {self.since} ({last})"


def current_driver(storage: Storage) -> Driver | None:
    """Read who drives the sweep, or did last; None: nobody ever has."""
    return last_driver(storage)[1]


def is_driven(storage: Storage) -> bool:
    """Tell whether somebody drives a sweep now, as far as one look can tell: see ``Driver.drives``."""
    driver = current_driver(storage)
    return driver is not None and driver.drives()


class Watch:
    """Looks again and again at who drives a sweep, and compares no clocks of two machines."""

    def __init__(
        self, storage: Storage, *, silence_s: float = WATCH_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._storage = storage
        self._silence_s = silence_s
        self._clock = clock
        self._seen: tuple[int, Driver] | None = None
        self._since = clock()

    def look(self) -> tuple[int, Driver] | None:
        """Return the number of the driver, and the driver.

        None: nobody drives the sweep. The last driver has ended, or its process on this machine has, or its file did
        not change for ``silence_s`` while this watch lasted.
        """
        number, driver = last_driver(self._storage)
        if driver is None or not driver.drives():
            return None
        if self._seen != (number, driver):
            self._seen, self._since = (number, driver), self._clock()
        return None if not driver.is_here and self._clock() - self._since >= self._silence_s else self._seen


def last_driver(storage: Storage) -> tuple[int, Driver | None]:
    """Find the highest number, and its driver; 0: nobody ever drove the sweep."""
    paths = _driver_paths(storage)
    last = max(paths, default=0)
    driver = _read_driver(storage, paths[last]) if paths else None
    return (0, None) if driver is None else (last, driver)


def driven_s(storage: Storage, *, before: int | None) -> float:
    """Add up for how long a sweep was driven, in seconds, each driver until its last sign of life.

    Args:
        storage: the sweep's folder.
        before: only by drivers of lower numbers; None: by all.
    """
    total = 0.0
    for number, path in _driver_paths(storage).items():
        driver = _read_driver(storage, path) if before is None or number < before else None
        if driver is not None:
            total += _driven_s(driver)
    return total


def _driven_s(driver: Driver) -> float:
    """Read for how long a driver has driven; of an older version, by the machine's clock, which may have been set."""
    seconds = driver.driven_s
    with contextlib.suppress(ValueError, TypeError):  # nothing is known of it
        if seconds is None:
            begun = datetime.fromisoformat(driver.since)
            seconds = (datetime.fromisoformat(driver.ended_at or driver.renewed_at) - begun).total_seconds()
        if math.isfinite(seconds):
            return max(0.0, float(seconds))
    return 0.0


def request_stop(storage: Storage, *, limit_s: float, silence_s: float = WATCH_S) -> Driver | None:
    """Ask whoever drives a sweep, wherever that is, to stop in good order, as SIGTERM does; wait until it has.

    Returns:
        The driver that stopped; None: nobody drives it, or who did is dead (``Watch``).

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
                f"if nobody does: {command('resume', storage.uri, '--take-over')}"
            )
        if number not in asked:  # another may follow while one waits: a killed driver that is started again
            storage.publish(
                request_path(number), json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode()
            )
            asked[number] = driver
        time.sleep(POLL_S)
    raise RunStoppedError(
        f"{storage.uri}: {driver} was asked to stop {limit_s:.0f} s ago and still drives the sweep; it may wait for a "
        f"storage or a machine that does not answer. If it is dead: {command('resume', storage.uri, '--take-over')}"
    )


def driver_path(number: int) -> str:
    """Name a driver's file."""
    return f"{FOLDER}/{number:06d}.json"


def request_path(number: int) -> str:
    """Name the file by which a driver is asked to stop."""
    return f"{FOLDER}/{number:06d}.stop"


def encode_driver(driver: Driver) -> bytes:
    """Write a driver's file."""
    return json.dumps(asdict(driver), indent=2).encode() + b"\n"


def decode_driver(content: bytes) -> Driver:
    """Read a driver; what cannot be read is a driver of whom nothing is known, that only ``take_over`` follows."""
    try:
        driver = _DRIVER.validate_json(content, strict=True)
        if driver.pid < 0 or driver.pid.bit_length() > 31:
            raise ValueError("no process has such a number")
        for time_of in (driver.since, driver.renewed_at, driver.ended_at or driver.renewed_at):
            datetime.fromisoformat(time_of) - datetime.now(UTC)  # a time without a zone raises TypeError
        return driver
    except (ValueError, TypeError, OverflowError):
        return Driver(
            token="", host="unknown", machine="unknown", pid=0, process_started=0.0, since="unknown",
            renewed_at=datetime.max.replace(tzinfo=UTC).isoformat(),
        )  # fmt: skip


_DRIVER = TypeAdapter(Driver)


def _driver_paths(storage: Storage) -> dict[int, str]:
    """List the drivers' files by number; what is named otherwise is none."""
    paths = storage.files(FOLDER, ".json")
    return {int(Path(path).stem): path for path in paths if re.fullmatch("[0-9]{6,12}", Path(path).stem)}


def _read_driver(storage: Storage, path: str) -> Driver | None:
    try:
        content = storage.read(path)
    except IrregularFileError:
        content = b""  # of whom nothing is known
    return None if content is None else decode_driver(content)


def process_start(process: psutil.Process) -> float:
    """Give when a process began, in seconds since boot: both times move alike when the clock is set."""
    return float(process.create_time() - psutil.boot_time())


def this_machine() -> str:
    """Name the machine as of this boot, and the namespace of its process numbers."""
    parts = [socket.gethostname()]
    for source in (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")):
        with contextlib.suppress(OSError):
            parts.append(str(source.readlink()) if source.is_symlink() else source.read_text().strip())
    if len(parts) == 1:  # no Linux; hosts may share a name
        parts.append(f"{uuid.getnode():x}")
    return " ".join(parts)
