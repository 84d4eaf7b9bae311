"""Who drives a sweep: at most one process at a time, by the files ``drivers/<number>.json``.

The driver is whoever made the file of the highest number, and making it is exclusive (``Storage.create``), so that of
any number of processes that want to follow a dead or finished driver exactly one does. A driver renews its file while
it lives, and stops when it finds a higher number: somebody took the sweep over. No file is ever removed, so that who
lost a sweep can tell by one look, however late.

Two drivers would not tear a ledger (rows are named by their content and published whole), but would spend everything
twice and tell their studies different stories.
"""

import contextlib
import json
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from orchestrator.errors import RunStoppedError, StorageError, SweepError
from orchestrator.interrupt import Interrupt
from orchestrator.storage import Storage
from trainables.errors import ResultsError

FOLDER = "drivers"
Clock = Callable[[], datetime]
RENEW_EVERY_S = 10.0
EXPIRES_AFTER = timedelta(minutes=15)
"""Without a sign of life, a driver on another machine is taken to be dead after this; whether one on this machine lives
is seen at once. Longer than clocks differ."""
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

    def drives(self, now: datetime) -> bool:
        """Tell whether it still has the sweep, as far as can be known from here: see ``EXPIRES_AFTER``."""
        return self.ended_at is None and (
            self._process_lives()
            if self.machine == _machine()
            else now - datetime.fromisoformat(self.renewed_at) < EXPIRES_AFTER
        )

    def _process_lives(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            same = abs(_started(process) - self.process_started) <= SAME_START_S
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def __str__(self) -> str:
        return f"host {self.host}, process {self.pid}, since {self.since} (last sign of life {self.renewed_at})"


class LeaseLostError(RunStoppedError, ResultsError):
    """Another process took the sweep over: this one, and its trials, begin no further write."""


class Lease:
    """The right to drive a sweep, for as long as it is renewed and nobody took it over."""

    def __init__(self, storage: Storage, number: int, driver: Driver, now: Clock) -> None:
        self.number = number
        self._storage = storage
        self._driver = driver
        self._now = now
        self._writing = threading.Lock()

    def renew(self) -> None:
        """Show a sign of life.

        Raises:
            LeaseLostError: somebody took the sweep over.
        """
        require_lease(self._storage, self.number)
        content = self._storage.read(_path(self.number))
        if content is not None:  # a store without conditional writes may have let two begin
            holder = _decode(content)
            if holder.token != self._driver.token:
                raise _lost(self._storage, holder)
        self._write()

    def stop_trials(self) -> None:
        """Ask the sweep's trials to stop in good order. They look at every evaluation, and every few seconds."""
        if not self._driver.stopping:
            self._write(stopping=True)

    def end(self) -> None:
        """Give the sweep up. A store that is gone frees it later, as a dead process does."""
        with contextlib.suppress(StorageError):
            self._write(stopping=True, ended_at=_moment(self._now))

    def _write(self, **changes: Any) -> None:
        with self._writing:
            self._driver = replace(self._driver, renewed_at=_moment(self._now), **changes)
            self._storage.publish(_path(self.number), _encode(self._driver))


@contextmanager
def lease(
    storage: Storage,
    sweep: str,
    interrupt: Interrupt,
    *,
    take_over: bool = False,
    renew_every_s: float = RENEW_EVERY_S,
    now: Clock = lambda: datetime.now(UTC),
) -> Iterator[Lease]:
    """Drive the sweep while the block runs; renew in a thread, which asks ``interrupt`` to stop if the lease is lost.

    Args:
        storage: the sweep's folder.
        sweep: its name, for messages.
        interrupt: what the run looks at while it waits.
        take_over: follow a driver that has not ended and is not known to be dead.
        renew_every_s: seconds between two signs of life.
        now: the clock of what is written.

    Raises:
        SweepError: another process drives it; the message names it, and says how to take over.
    """
    held = _acquire(storage, sweep, take_over=take_over, now=now)
    done = threading.Event()

    def renew() -> None:
        with interrupt.on(RunStoppedError):
            while not done.wait(renew_every_s):
                held.renew()

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield held
    finally:
        done.set()
        thread.join(timeout=renew_every_s)  # it may wait for a store that does not answer
        if not isinstance(interrupt.reason, LeaseLostError):
            held.end()


def current_driver(storage: Storage) -> Driver | None:
    """Read who drives the sweep, or did last; None: nobody ever has."""
    return _last(storage)[1]


def require_lease(storage: Storage, number: int) -> None:
    """Make sure that a driver has not been followed by another.

    Raises:
        LeaseLostError: it has; with who follows.
    """
    next_one = storage.read(_path(number + 1))
    if next_one is not None:
        raise _lost(storage, _decode(next_one))


def _lost(storage: Storage, other: Driver) -> LeaseLostError:
    return LeaseLostError(f"{storage.uri}: the sweep was taken over by {other}; this run has stopped")


def is_stopping(storage: Storage, number: int) -> bool:
    """Tell a trial whether its driver has asked to stop.

    Raises:
        LeaseLostError: the driver has been followed by another.
    """
    require_lease(storage, number)
    content = storage.read(_path(number))
    return content is None or _decode(content).stopping


def _acquire(storage: Storage, sweep: str, *, take_over: bool, now: Clock) -> Lease:
    while True:
        last, holder = _last(storage)
        if holder is not None and holder.drives(now()) and not take_over:
            raise SweepError(
                f"sweep '{sweep}' at {storage.uri} is driven by {holder}; to stop it: kill -TERM {holder.pid} on that "
                f"host. If it is dead, or must not go on: unlearn-sweep resume {storage.uri} --take-over"
            )
        moment = _moment(now)
        mine = Driver(
            token=uuid.uuid4().hex,
            host=socket.gethostname(),
            machine=_machine(),
            pid=os.getpid(),
            process_started=_started(psutil.Process()),
            since=moment,
            renewed_at=moment,
        )
        if storage.create(_path(last + 1), _encode(mine)):
            return Lease(storage, last + 1, mine, now)
        take_over = False  # somebody was faster, and is alive


def _last(storage: Storage) -> tuple[int, Driver | None]:
    """Find the highest number, and its driver."""
    paths = [path for path in storage.files(FOLDER, ".json") if Path(path).stem.isdigit()]
    content = storage.read(paths[-1]) if paths else None
    if content is None:
        return 0, None
    return int(Path(paths[-1]).stem), _decode(content)


def _moment(now: Clock) -> str:
    return now().isoformat(timespec="seconds")


def _path(number: int) -> str:
    return f"{FOLDER}/{number:06d}.json"


def _encode(driver: Driver) -> bytes:
    return json.dumps(asdict(driver), indent=2).encode() + b"\n"


def _decode(content: bytes) -> Driver:
    """Read a driver; what cannot be read is a driver of whom nothing is known, that only ``take_over`` follows."""
    try:
        return Driver(**json.loads(content))
    except (ValueError, TypeError):
        return Driver(
            token="", host="unknown", machine="unknown", pid=0, process_started=0.0, since="unknown",
            renewed_at=datetime.max.replace(tzinfo=UTC).isoformat(),
        )  # fmt: skip


def _started(process: psutil.Process) -> float:
    """Give when a process began, in seconds since boot: both times move alike when the clock is set."""
    return float(process.create_time() - psutil.boot_time())


def _machine() -> str:
    """Name the machine as of this boot, and the namespace of its process numbers."""
    parts = [socket.gethostname()]
    for source in (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")):
        with contextlib.suppress(OSError):
            parts.append(str(source.readlink()) if source.is_symlink() else source.read_text().strip())
    return " ".join(parts)
