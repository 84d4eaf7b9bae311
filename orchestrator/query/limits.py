"""Limits of one query: memory and time."""

import math
import re
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import SweepError

DEFAULT_TIMEOUT_S = 300.0
DEFAULT_MEMORY_BYTES = 4 * 2**30
"""The default limit, or half of what this process may have where that is less."""
SMALLEST_MEMORY_BYTES = 16 * 2**20
"""With less, DuckDB does not read a table."""
_OVERHEAD_BYTES = 512 * 2**20
"""Memory beside the rows: stacks of threads, and what allocators keep."""
_INTERRUPT_EVERY_S = 0.1
"""Seconds between two interrupts of a query whose time is over: between two statements an interrupt has no effect."""
_UNITS = {"": 1, **{f"{prefix}b": 1000**power for power, prefix in enumerate(["", "k", "m", "g", "t"])}}
_UNITS |= {f"{prefix}ib": 1024**power for power, prefix in enumerate(["k", "m", "g", "t"], start=1)}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_EXAMPLE = "give a number of bytes with its unit, such as 512MiB or 8GiB"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most memory and time that a query may take."""

    memory_bytes: int | None = None
    """For the data that DuckDB holds. None: ``DEFAULT_MEMORY_BYTES``, or half of the memory there is."""
    timeout_s: float = DEFAULT_TIMEOUT_S

    def __post_init__(self) -> None:
        if self.memory_bytes is not None and self.memory_bytes < SMALLEST_MEMORY_BYTES:
            raise SweepError(
                f"--memory-limit: found {self.memory_bytes} bytes, and a query needs at least "
                f"{size_text(SMALLEST_MEMORY_BYTES)}; {_EXAMPLE}"
            )
        if not self.timeout_s > 0:
            raise SweepError(f"--timeout: found {self.timeout_s:g}; give seconds, more than 0")


def parse_size(text: str) -> int:
    """Return the number of bytes that a text such as ``512MiB``, ``1.5 GB`` or ``1048576`` stands for.

    Raises:
        SweepError: it is not a size.
    """
    found = _SIZE.fullmatch(text)
    if found is None or found[2].lower() not in _UNITS:
        raise SweepError(f"--memory-limit: found {text!r}; {_EXAMPLE}")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def size_text(count: int) -> str:
    """Return a number of bytes as a person reads it: ``512 MiB``, ``4 GiB``."""
    return f"{count / 2**30:.3g} GiB" if count >= 2**30 else f"{count / 2**20:.3g} MiB"


@contextmanager
def time_limit(interrupt: Callable[[], None], timeout_s: float) -> Iterator[threading.Event]:
    """Call ``interrupt`` from another thread once the time is over, until the block ends.

    The event that is yielded is set once the time is over.
    """
    done, over = threading.Event(), threading.Event()

    def watch() -> None:
        if not done.wait(None if math.isinf(timeout_s) else timeout_s):
            over.set()
            interrupt()
            while not done.wait(_INTERRUPT_EVERY_S):
                interrupt()

    watcher = threading.Thread(target=watch, name="query timeout", daemon=True)
    watcher.start()
    try:
        yield over
    finally:
        done.set()
        watcher.join()


@contextmanager
def bounded_heap(more_bytes: int) -> Iterator[None]:
    """Let this process allocate at most so much more memory while the block runs.

    DuckDB's own limit leaves out the texts that a function makes of one batch of rows: ``repeat('x', 100000000)`` of
    2,048 rows is 200 GB. On systems other than Linux, which do not tell what a process has, nothing is bounded.
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    held = _data_bytes()
    if held is None:
        yield
        return
    most = held + more_bytes + _OVERHEAD_BYTES
    soft = most if before[0] == resource.RLIM_INFINITY else min(before[0], most)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_bytes() -> int | None:
    """Return the bytes that Linux counts against ``RLIMIT_DATA``; None on other systems."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:")]
    return found[0] if found else None
