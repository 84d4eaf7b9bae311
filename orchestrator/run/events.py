"""What a run reports to whoever watches it, such as a progress bar."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from orchestrator.preparation import Memorized
from trainables.preparation import TrainingState
from trainables.records import Observation


class TrialEvents(Protocol):
    """What is reported of trials as they run."""

    def evaluated(self, *, forget_set: str, evaluation: Observation) -> None:
        """Report one committed evaluation."""

    def trial_ended(self, *, status: str) -> None:
        """Report one ended trial."""

    def trial_retried(self, *, trial_id: str, message: str) -> None:
        """Report that a trial failed, and goes on from its checkpoint."""

    def trial_failed(self, *, trial_id: str, message: str) -> None:
        """Report why a trial failed for good; that it ended is reported too."""


class Events(TrialEvents, Protocol):
    """What is reported of a run. A watcher may leave out what is of no interest to it: see ``PartialEvents``."""

    def doing(self, what: str) -> None:
        """Report what goes on now, where no other event does."""

    def training(self, states: Mapping[str, TrainingState]) -> None:
        """Report how far the models in training are, by role."""

    def memorized(self, found: Sequence[Memorized]) -> None:
        """Report what the base model has memorized of each forget set."""

    def matched(self, how: str) -> None:
        """Report how the forget sets were matched before unlearning, and how well, where that was asked for."""

    def preparing(self, roles: list[str]) -> None:
        """Report which models are needed."""

    def model_ready(self, role: str) -> None:
        """Report that a model was trained, or found in the cache."""

    def shared(self, how: str) -> None:
        """Report how many trials share a device, and why, where that was measured."""

    def sweeping(self, *, total: int | None, ended: int, concurrent: int) -> None:
        """Report that trials start.

        Args:
            total: trials of the whole sweep; None: as many as the budget allows.
            ended: trials that ended in an earlier run.
            concurrent: trials that run at once.
        """


class PartialEvents:
    """Passes events on to a watcher, but for those that it has no method for."""

    def __init__(self, watcher: Any) -> None:
        self._watcher = watcher

    def __getattr__(self, name: str) -> Callable[..., None]:
        report: Callable[..., None] = getattr(self._watcher, name, lambda *_, **__: None)
        return report
