"""Where a trial's rows and checkpoints go: the protocol, and how the workers of a group share one sink."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from trainables.distributed import LeaderCheckpoints
from trainables.records import CheckpointStore, EvaluationRecord, ExampleRecord, Outcome, RowSink

if TYPE_CHECKING:
    from trainables.distributed import WorkerGroup


class TrialSink(RowSink, CheckpointStore, Protocol):
    """Where a trial's rows and checkpoints go, and what its driver has to say to it.

    Every method raises ``ResultsError`` where the storage does not keep or return what it should.
    """

    def stopping(self) -> bool:
        """Return whether the driver of the sweep has asked its trials to stop, or another has followed it."""

    def verdict(self, trial_id: str) -> str | None:
        """Return why a trial ends at the rung that it has reported; None: it goes on.

        It is asked once the driver has judged the trial, which is before the trial takes its next slice.
        """

    def save_trace(self, trial_id: str, trace: bytes) -> None:
        """Keep what the profiler has recorded of a trial."""


class LeaderSink(LeaderCheckpoints):
    """A sink as all workers of a group see it alike: the leader alone reads and writes."""

    def __init__(self, sink: TrialSink, group: "WorkerGroup") -> None:
        super().__init__(sink, group)
        self._sink = sink

    def publish(
        self,
        trial_id: str,
        evaluations: list[EvaluationRecord],
        examples: list[ExampleRecord],
        outcome: Outcome | None,
        *,
        meanwhile: Callable[[], bool] = lambda: False,
    ) -> None:
        """Publish the leader's rows, by a thread as checkpoints are saved."""
        self.write_meanwhile(partial(self._sink.publish, trial_id, evaluations, examples, outcome), meanwhile)

    def published(self, trial_id: str) -> tuple[list[EvaluationRecord], list[ExampleRecord]]:
        """Read the rows."""
        return self.group.broadcast_result(lambda: self._sink.published(trial_id))

    def save_trace(self, trial_id: str, trace: bytes) -> None:
        """Save the leader's trace."""
        self.group.broadcast_result(lambda: self._sink.save_trace(trial_id, trace))

    def stopping(self) -> bool:
        """Return whether the leader has been asked to stop."""
        return self.group.broadcast_result(self._sink.stopping)

    def verdict(self, trial_id: str) -> str | None:
        """Return the verdict that the leader reads."""
        return self.group.broadcast_result(lambda: self._sink.verdict(trial_id))
