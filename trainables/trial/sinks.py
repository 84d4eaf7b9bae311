"""Where a trial's rows and checkpoints go: the protocol, and how the workers of a team share one."""

from typing import TYPE_CHECKING, NamedTuple, Protocol

from trainables.records import CheckpointStore, EvaluationRecord, ExampleRecord, Outcome, RowSink

if TYPE_CHECKING:
    from trainables.distributed import WorkerGroup


class Rank(NamedTuple):
    """How good a trial is among several, itself included: 1 is the best, equal ones share the better rank."""

    rank: int
    among: int


class TrialSink(RowSink, CheckpointStore, Protocol):
    """Where a trial's rows and checkpoints go, and whether it should go on at all.

    Every method raises ``ResultsError`` where rows or checkpoints cannot be kept or read.
    """

    def stopping(self) -> bool:
        """Tell whether whoever drives the sweep has asked its trials to stop, or is followed by another."""

    def rank(self, trial_id: str, evaluations: list[EvaluationRecord], *, worst_performance: float) -> Rank:
        """Rank a trial among those of its stratum that reached the last of these evaluations, its own.

        They are compared by the hypervolume of what each has published up to there, below the base model's unlearning
        quality and ``worst_performance`` (nats per token).
        """

    def agree(self, trial_id: str, step: int, reason: str | None) -> str | None:
        """Return why a trial ends at a rung, and so do its siblings; None: they go on.

        Trials that differ by their seed alone may be judged as one. What the first of them came to holds for all, so
        that no setting loses some of its seeds.

        Args:
            trial_id: of the trial.
            step: the rung that it has reached.
            reason: what the trial came to, by its own rank.
        """


class LeaderSink:
    """A trial's results as all workers of a team see them alike: the leader alone reads and writes."""

    def __init__(self, sink: TrialSink, group: "WorkerGroup") -> None:
        self._sink = sink
        self._group = group

    def publish(
        self,
        trial_id: str,
        evaluations: list[EvaluationRecord],
        examples: list[ExampleRecord],
        outcome: Outcome | None,
    ) -> None:
        """Publish the leader's rows."""
        self._group.broadcast_result(lambda: self._sink.publish(trial_id, evaluations, examples, outcome))

    def published(self, trial_id: str) -> tuple[list[EvaluationRecord], list[ExampleRecord]]:
        """Read the rows."""
        return self._group.broadcast_result(lambda: self._sink.published(trial_id))

    def save_checkpoint(self, trial_id: str, payload: bytes) -> None:
        """Save the leader's payload."""
        self._group.broadcast_result(lambda: self._sink.save_checkpoint(trial_id, payload))

    def load_checkpoint(self, trial_id: str) -> bytes | None:
        """Read the checkpoint. The leader keeps the payload; by an empty one the others know that it is there."""
        found: list[bytes] = []

        def load() -> bool:
            payload = self._sink.load_checkpoint(trial_id)
            found.extend([] if payload is None else [payload])
            return bool(found)

        if not self._group.broadcast_result(load):
            return None
        return found[0] if found else b""

    def discard_checkpoint(self, trial_id: str) -> None:
        """Forget the checkpoint."""
        self._group.broadcast_result(lambda: self._sink.discard_checkpoint(trial_id))

    def stopping(self) -> bool:
        """Tell whether the leader has been asked to stop."""
        return self._group.broadcast_result(self._sink.stopping)

    def rank(self, trial_id: str, evaluations: list[EvaluationRecord], *, worst_performance: float) -> Rank:
        """Rank the trial by what the leader sees published."""
        return self._group.broadcast_result(
            lambda: self._sink.rank(trial_id, evaluations, worst_performance=worst_performance)
        )

    def agree(self, trial_id: str, step: int, reason: str | None) -> str | None:
        """Agree with the trial's siblings, for all workers."""
        return self._group.broadcast_result(lambda: self._sink.agree(trial_id, step, reason))
