"""Where the time of a trial goes, by part of its work."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from torch.profiler import record_function

from trainables.records import TIMES

Part = Literal["reset_s", "step_s", "evaluate_s", "commit_s", "checkpoint_s"]
"""A name of ``trainables.records.TIMES``."""


class Stopwatch:
    """Adds up the seconds of each part, an inner part's in place of the outer one's."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._seconds: dict[str, float] = {}
        self._running: list[Part] = []
        self._since = 0.0

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add what an earlier process has counted."""
        for part, more in seconds.items():
            self._seconds[part] = self._seconds.get(part, 0.0) + more

    @contextmanager
    def counting(self, part: Part) -> Iterator[None]:
        """Count the time of the block to a part, in place of the part that runs now."""
        self._switch()
        self._running.append(part)
        try:
            with record_function(part.removesuffix("_s")):  # its name in a trace of the profiler
                yield
        finally:
            self._switch()
            self._running.pop()

    def _switch(self) -> None:
        now = self._clock()
        if self._running:
            self.add({self._running[-1]: now - self._since})
        self._since = now

    @property
    def seconds(self) -> Mapping[str, float]:
        """The seconds of every part, up to now."""
        self._switch()
        return {part: self._seconds.get(part, 0.0) for part in TIMES}
