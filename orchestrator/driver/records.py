"""The files ``drivers/<number>.json``: who drives a sweep, and who did."""

import contextlib
import json
import math
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pydantic import TypeAdapter

from orchestrator.driver.machine import process_start, this_machine
from orchestrator.errors import IrregularFileError
from orchestrator.storage import Storage

FOLDER = "drivers"
SAME_START_S = 2.0
"""Processes of one number whose starts differ by more seconds are two processes."""


@dataclass(frozen=True, kw_only=True)
class Driver:
    """A process that drives a sweep, or did, as its file describes it."""

    token: str
    """Random text that distinguishes each attempt to drive; empty where the file cannot be read."""
    host: str
    machine: str
    """Name of one boot and one namespace of process numbers: see ``this_machine``."""
    pid: int
    process_started: float
    """When the process began, in seconds since the machine's boot."""
    since: str
    renewed_at: str
    stopping: bool = False
    """Whether it has asked its trials to stop."""
    ended_at: str | None = None
    driven_s: float | None = None
    """Seconds that it has driven the sweep, by its monotonic clock; None: written by an older version."""
    probing: bool = False
    """Whether it only probes models. Its time is not the search's."""

    def drives(self) -> bool:
        """Return whether it may still have the sweep: it has not ended, and is no dead process of this machine.

        A driver on another machine may be dead all the same; ``Watch`` finds out.
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
    """Return the driver of a sweep, or its last one; None: nobody ever drove it."""
    return last_driver(storage)[1]


def is_driven(storage: Storage) -> bool:
    """Return whether somebody drives a sweep now, as far as one look shows: see ``Driver.drives``."""
    driver = current_driver(storage)
    return driver is not None and driver.drives()


def last_driver(storage: Storage) -> tuple[int, Driver | None]:
    """Return the highest number and its driver; 0 and None: nobody ever drove the sweep."""
    paths = _driver_paths(storage)
    last = max(paths, default=0)
    driver = _read_driver(storage, paths[last]) if paths else None
    return (0, None) if driver is None else (last, driver)


def driven_s(storage: Storage, *, before: int | None) -> float:
    """Return how many seconds a sweep was searched, by all its drivers, each until its last sign of life.

    Drivers that only probed models do not count.

    Args:
        storage: the sweep's folder.
        before: count only drivers of lower numbers; None: all.
    """
    total = 0.0
    for number, path in _driver_paths(storage).items():
        driver = _read_driver(storage, path) if before is None or number < before else None
        if driver is not None and not driver.probing:
            total += _driven_s(driver)
    return total


def _driven_s(driver: Driver) -> float:
    """Return how many seconds a driver has driven.

    For a driver of an older version this goes by its machine's clock, which may have been set meanwhile.
    """
    seconds = driver.driven_s
    with contextlib.suppress(ValueError, TypeError):  # its file does not say
        if seconds is None:
            begun = datetime.fromisoformat(driver.since)
            seconds = (datetime.fromisoformat(driver.ended_at or driver.renewed_at) - begun).total_seconds()
        if math.isfinite(seconds):
            return max(0.0, float(seconds))
    return 0.0


def driver_path(number: int) -> str:
    """Return the path of a driver's file."""
    return f"{FOLDER}/{number:06d}.json"


def request_path(number: int) -> str:
    """Return the path of the file by which a driver is asked to stop."""
    return f"{FOLDER}/{number:06d}.stop"


def encode_driver(driver: Driver) -> bytes:
    """Return the content of a driver's file."""
    return json.dumps(asdict(driver), indent=2).encode() + b"\n"


def decode_driver(content: bytes) -> Driver:
    """Return the driver that a file describes.

    A file that cannot be read stands for a driver of whom nothing is known: only ``take_over`` follows it.
    """
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
    """Return the drivers' files by number; files with other names are not drivers'."""
    paths = storage.files(FOLDER, ".json")
    return {int(Path(path).stem): path for path in paths if re.fullmatch("[0-9]{6,12}", Path(path).stem)}


def _read_driver(storage: Storage, path: str) -> Driver | None:
    try:
        content = storage.read(path)
    except IrregularFileError:
        content = b""  # a driver of whom nothing is known
    return None if content is None else decode_driver(content)
