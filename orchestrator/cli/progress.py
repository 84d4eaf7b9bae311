"""Live progress of a run: a bar on a terminal, plain lines elsewhere."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column

from orchestrator.cli.terminal import PlainText
from orchestrator.driver import clear_of
from orchestrator.durations import duration
from trainables.records import ENDED, Observation

if TYPE_CHECKING:
    from orchestrator.preparation import Memorized
    from trainables.preparation import TrainingState

WIDE = 100
"""Least columns of a terminal that has room for a bar beside the counts."""

LINE_EVERY_S = 10.0
"""Least seconds between two lines where there is no terminal."""


class RunProgress:
    """Live progress of a run: shows the ``Events`` of ``orchestrator.run``."""

    def __init__(
        self,
        console: Console,
        messages: Console,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_trials: Callable[[], None] = lambda: None,
    ) -> None:
        """Create it with nothing to show.

        Args:
            console: shows the progress of models and trials.
            messages: shows other activity where ``console`` is no terminal, so that a run that has nothing to do
                does not mix it with its results.
            clock: returns seconds that only grow.
            on_trials: called when trials begin: from then on, this process has little to do.
        """
        self._on_trials = on_trials
        self._console = console
        self._messages = messages
        self._clock = clock
        bar = [BarColumn(bar_width=24)] if console.width >= WIDE else []
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            *bar,
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False, table_column=Column(overflow="fold", ratio=1)),
            console=console,
            disable=not console.is_terminal,
            expand=True,
        )
        self._task: TaskID | None = None
        self._note = ""
        self._total: int | None = None
        self._done = self._ended_before = self._evaluations = 0
        self._statuses: Counter[str] = Counter()
        self._reasons: set[str] = set()
        self.begun = False
        """Whether the sweep is in its storage, and its models are being prepared."""
        self._started = self._last_line = clock()

    @contextmanager
    def live(self) -> Iterator["RunProgress"]:
        """Draw the progress while the block runs."""
        with clear_of(lambda: self._height), self._bar:
            yield self

    def doing(self, what: str) -> None:
        """See ``Events``."""
        self._begin(what, None)
        if not self._console.is_terminal:
            self._messages.print(PlainText(what), soft_wrap=True)

    def preparing(self, roles: list[str]) -> None:
        """See ``Events``."""
        self.begun = True
        self._begin("models", len(roles))
        self._show(", ".join(roles), always=True)

    def model_ready(self, role: str) -> None:
        """See ``Events``."""
        self._done += 1
        self._show(f"{role} ready", always=True)

    def training(self, states: Mapping[str, "TrainingState"]) -> None:
        """See ``Events``."""
        if states:
            brief = self._is_narrow
            lead = "" if brief else "training "
            lines = [f"{lead}{role}: {_training(state, brief=brief)}" for role, state in states.items()]
            self._show(("\n" if self._console.is_terminal else "; ").join(lines))

    def memorized(self, found: Sequence["Memorized"]) -> None:
        """See ``Events``."""
        self._say("what the base model has memorized:")
        for one in found:
            self._say(f"  {one}")

    def matched(self, how: str) -> None:
        """See ``Events``."""
        self._say(how)

    def shared(self, how: str) -> None:
        """See ``Events``."""
        self._say(how)

    def sweeping(self, *, total: int | None, ended: int, concurrent: int) -> None:
        """See ``Events``."""
        self._begin("trials", total, done=ended)
        self._show(f"{concurrent} at once", always=True)
        self._on_trials()

    def evaluated(self, *, forget_set: str, evaluation: Observation) -> None:
        """See ``Events``."""
        self._evaluations += 1
        self._show(self._sweep_note())

    def trial_ended(self, *, status: str) -> None:
        """See ``Events``."""
        self._statuses[status] += 1
        self._done += status in ENDED  # a stopped trial is resumed later
        self._show(self._sweep_note())

    def trial_retried(self, *, trial_id: str, message: str) -> None:
        """See ``Events``."""
        self._say(f"trial {trial_id} resumes from its checkpoint: {_first_line(message)}")

    def trial_failed(self, *, trial_id: str, message: str) -> None:
        """See ``Events``. Each reason is shown once; the number of failures is in the note."""
        if message not in self._reasons:
            self._reasons.add(message)
            self._say(f"trial {trial_id} failed: {_first_line(message)}")

    def eta_s(self) -> float | None:
        """Return the estimated seconds left, from the trials of this run.

        None before the first trial has ended, and where the number of trials is not known.
        """
        done = self._done - self._ended_before
        if done <= 0 or self._total is None:
            return None
        return (self._clock() - self._started) / done * (self._total - self._done)

    def _begin(self, what: str, total: int | None, *, done: int = 0) -> None:
        self._total, self._done, self._ended_before = total, done, done
        self._started = self._clock()
        self._note = ""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(what, total=total, completed=done, note="", count=self._count)

    @property
    def _is_narrow(self) -> bool:
        """Whether this is a terminal on which all but short notes fold."""
        return self._console.is_terminal and self._console.width < WIDE

    @property
    def _height(self) -> int:
        """Most lines that the bar takes on a terminal; a note longer than half a line folds."""
        if not self._console.is_terminal:
            return 0
        return sum(1 + 2 * len(line) // self._console.width for line in self._note.split("\n"))

    @property
    def _count(self) -> str:
        """How many are done, and of how many, as far as known."""
        if self._total is None:
            return str(self._done) if self._done else ""
        return f"{self._done}/{self._total}"

    def _sweep_note(self) -> str:
        endings = ", ".join(f"{count} {status}" for status, count in sorted(self._statuses.items()))
        eta = self.eta_s()
        left = f"about {duration(eta)} left" if eta is not None else ""
        many = "1 evaluation" if self._evaluations == 1 else f"{self._evaluations} evaluations"
        if self._is_narrow:  # else the line would fold inside one of them
            return "\n".join(line for line in (f"{many}  {left}".rstrip(), endings) if line)
        return "  ".join(part for part in (many, endings, left) if part)

    def _show(self, note: str, *, always: bool = False) -> None:
        assert self._task is not None
        self._note = note
        self._bar.update(self._task, completed=self._done, note=note, count=self._count)
        now = self._clock()
        if not self._console.is_terminal and (always or now - self._last_line >= LINE_EVERY_S):
            self._last_line = now
            what = self._bar.tasks[-1].description
            self._say(f"{what} {self._count or 0}  {note}")

    def _say(self, message: str) -> None:
        """Print a message: folded between words on a terminal, one line elsewhere."""
        self._console.print(PlainText(message), soft_wrap=not self._console.is_terminal)


def _training(state: "TrainingState", *, brief: bool = False) -> str:
    epoch = "" if brief else f"epoch {state.epoch}/{state.epochs}, "
    loss = "" if state.loss is None else f", loss {state.loss:.2f}"
    left = "" if state.left_s is None else f", about {duration(state.left_s)} left"
    return f"{epoch}step {state.step}/{state.steps}{loss}{left}"


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0] or "its worker died"
