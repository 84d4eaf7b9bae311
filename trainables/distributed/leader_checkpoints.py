"""Checkpoints as all workers of a group see them alike: the leader alone reads and writes. It loads no PyTorch."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from trainables.records import CheckpointStore

if TYPE_CHECKING:
    from trainables.distributed.worker_group import WorkerGroup


class LeaderCheckpoints:
    """A ``CheckpointStore`` whose methods all workers of a group call together. All raise what the leader's raises.

    What takes time is written by a thread, while all workers call ``meanwhile`` again and again: each call does some
    work that does not depend on what is written, and returns whether there was any. When a method returns, what it
    writes is written.
    """

    def __init__(self, store: CheckpointStore, group: "WorkerGroup") -> None:
        self._store = store
        self.group = group
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writing")

    def save_checkpoint(self, key: str, payload: bytes, *, meanwhile: Callable[[], bool] = lambda: False) -> None:
        """Save the leader's payload."""
        self.write_meanwhile(partial(self._store.save_checkpoint, key, payload), meanwhile)

    def write_meanwhile(self, write: Callable[[], None], meanwhile: Callable[[], bool]) -> None:
        """Have the leader call ``write`` in a thread, and wait for it; all workers call ``meanwhile`` until then."""
        writing = self._thread.submit(write) if self.group.is_leader else Future[None]()
        try:
            while not self.group.broadcast_result(writing.done) and meanwhile():
                pass
        except BaseException:  # the group may not answer any more; the next work of this process finds nothing begun
            self._thread.shutdown()
            raise
        self.group.broadcast_result(writing.result)

    def load_checkpoint(self, key: str) -> bytes | None:
        """Read the checkpoint. The leader returns the payload; the others an empty one, which says that it is there."""
        found: list[bytes] = []

        def load() -> bool:
            payload = self._store.load_checkpoint(key)
            found.extend([] if payload is None else [payload])
            return bool(found)

        if not self.group.broadcast_result(load):
            return None
        return found[0] if found else b""

    def discard_checkpoint(self, key: str) -> None:
        """Remove the checkpoint."""
        self.group.broadcast_result(lambda: self._store.discard_checkpoint(key))
