"""Where a trial's rows and checkpoints go: the protocol, and how the workers of a group share one sink."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Protocol

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


class LeaderSink:
    """A sink as all workers of a group see it alike: the leader alone reads and writes.

    What takes time is written by a thread, while all workers call ``meanwhile`` again and again: each call does some
    work that does not depend on what is written, and returns whether there was any. When a method returns, what it
    writes is written.
    """

    def __init__(self, sink: TrialSink, group: "WorkerGroup") -> None:
        self._sink = sink
        self._group = group
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sink")

    def publish(
        self,
        trial_id: str,
        evaluations: list[EvaluationRecord],
        examples: list[ExampleRecord],
        outcome: Outcome | None,
        *,
        meanwhile: Callable[[], bool] = lambda: False,
    ) -> None:
        """Publish the leader's rows."""
        self._write(partial(self._sink.publish, trial_id, evaluations, examples, outcome), meanwhile)

    def save_checkpoint(self, trial_id: str, payload: bytes, *, meanwhile: Callable[[], bool] = lambda: False) -> None:
        """Save the leader's payload."""
        self._write(partial(self._sink.save_checkpoint, trial_id, payload), meanwhile)

    def _write(self, write: Callable[[], None], meanwhile: Callable[[], bool]) -> None:
        writing = self._thread.submit(write) if self._group.is_leader else Future[None]()
        try:
            while not self._group.broadcast_result(writing.done) and meanwhile():
                pass
        except BaseException:  # the group may not answer any more; the next trial of this process finds nothing begun
            self._thread.shutdown()
            raise
        self._group.broadcast_result(writing.result)

    def published(self, trial_id: str) -> tuple[list[EvaluationRecord], list[ExampleRecord]]:
        """Read the rows."""
        return self._group.broadcast_result(lambda: self._sink.published(trial_id))

    def load_checkpoint(self, trial_id: str) -> bytes | None:
        """Read the checkpoint. The leader returns the payload; the others an empty one, which says that it is there."""
        found: list[bytes] = []

        def load() -> bool:
            payload = self._sink.load_checkpoint(trial_id)
            found.extend([] if payload is None else [payload])
            return bool(found)

        if not self._group.broadcast_result(load):
            return None
        return found[0] if found else b""

    def discard_checkpoint(self, trial_id: str) -> None:
        """Remove the checkpoint."""
        self._group.broadcast_result(lambda: self._sink.discard_checkpoint(trial_id))

    def save_trace(self, trial_id: str, trace: bytes) -> None:
        """Save the leader's trace."""
        self._group.broadcast_result(lambda: self._sink.save_trace(trial_id, trace))

    def stopping(self) -> bool:
        """Return whether the leader has been asked to stop."""
        return self._group.broadcast_result(self._sink.stopping)

    def verdict(self, trial_id: str) -> str | None:
        """Return the verdict that the leader reads."""
        return self._group.broadcast_result(lambda: self._sink.verdict(trial_id))
