"""Live progress of a run: a bar on a terminal, plain lines elsewhere."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from orchestrator.terminal import PlainText

LINE_EVERY_S = 10.0
"""Least seconds between two lines where there is no terminal."""


class RunProgress:
    """Shows what ``runner.Events`` reports."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._begun = False
        self._total: int | None = 0
        self._done = self._ended_before = self._evaluations = 0
        self._statuses: Counter[str] = Counter()
        self._started = self._last_line = clock()

    @contextmanager
    def live(self) -> Iterator["RunProgress"]:
        """Draw while the block runs."""
        with self._bar:
            yield self

    @property
    def begun(self) -> bool:
        """Whether the run has got as far as preparing models: its storage could be written until then."""
        return self._begun

    def preparing(self, roles: list[str]) -> None:
        """See ``runner.Events``."""
        self._begun = True
        self._begin("models", len(roles))

    def model_ready(self, role: str) -> None:
        """See ``runner.Events``."""
        self._done += 1
        self._show(f"{role} ready", always=True)

    def shared(self, how: str) -> None:
        """See ``runner.Events``."""
        self._say(how)

    def sweeping(self, *, total: int | None, ended: int, concurrent: int) -> None:
        """See ``runner.Events``."""
        self._begin("trials", total, done=ended)
        self._show(f"{concurrent} at once", always=True)

    def evaluated(self, *, forget_set: str, evaluation: dict[str, Any]) -> None:
        """See ``runner.Events``."""
        self._evaluations += 1
        self._show(self._sweep_note())

    def trial_ended(self, *, status: str) -> None:
        """See ``runner.Events``."""
        self._statuses[status] += 1
        self._done += 1
        self._show(self._sweep_note())

    def trial_retried(self, *, trial_id: str, message: str) -> None:
        """See ``runner.Events``."""
        reason = message.strip().splitlines()[-1] if message.strip() else "its worker died"
        self._say(f"trial {trial_id[:8]} goes on from its checkpoint: {reason}")

    def eta_s(self) -> float | None:
        """Estimate the seconds left from the trials of this run; None before the first has ended, and where it is not
        known how many there will be."""
        done = self._done - self._ended_before
        if done <= 0 or self._total is None:
            return None
        return (self._clock() - self._started) / done * (self._total - self._done)

    def _begin(self, what: str, total: int | None, *, done: int = 0) -> None:
        self._total, self._done, self._ended_before = total, done, done
        self._started = self._clock()
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(what, total=total, completed=done, note="")

    def _sweep_note(self) -> str:
        endings = ", ".join(f"{count} {status}" for status, count in sorted(self._statuses.items()))
        eta = self.eta_s()
        left = f"about {duration(eta)} left" if eta is not None else ""
        return "  ".join(part for part in (f"{self._evaluations} evaluations", endings, left) if part)

    def _show(self, note: str, *, always: bool = False) -> None:
        assert self._task is not None
        self._bar.update(self._task, completed=self._done, note=note)
        now = self._clock()
        if not self._console.is_terminal and (always or now - self._last_line >= LINE_EVERY_S):
            self._last_line = now
            what = self._bar.tasks[-1].description
            of_all = "" if self._total is None else f"/{self._total}"
            self._say(f"{what} {self._done}{of_all}  {note}")

    def _say(self, message: str) -> None:
        self._console.print(PlainText(message))


def duration(seconds: float) -> str:
    """Write a duration for a person: ``8 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
