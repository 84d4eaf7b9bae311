"""The processes that run one trial, or train one model, together: each computes its share of every batch.

The leader decides what depends on a clock, on storage or on chance, so that all workers take the same steps and none
waits for one that took another branch. For a single process this costs nothing.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

Decision = TypeVar("Decision")


class WorkerGroup:
    """A group of one process, and the interface of larger groups."""

    rank = 0
    size = 1

    @property
    def is_leader(self) -> bool:
        """Whether this process decides for the group."""
        return self.rank == 0

    @property
    def random_stream(self) -> tuple[int, ...]:
        """The name of this process's own random numbers; the leader has those of a process alone."""
        return () if self.is_leader else (self.rank,)

    def shard(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return this process's part of ``indices``, which all processes pass alike. Sizes differ by at most one."""
        return indices[self.rank :: self.size]

    def broadcast_result(self, decision: Callable[[], Decision]) -> Decision:
        """Call ``decision`` in the leader, and return its result in every process. All raise what it raises."""
        return decision()

    def all_reduce_sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of the tensors of all processes, bit for bit the same in each."""
        return tensor

    def broadcast(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the leader's tensor in every process. The others pass a CPU tensor of its shape and dtype to fill."""
        return tensor


ALONE = WorkerGroup()
"""The group of a single process."""


class TorchWorkerGroup(WorkerGroup):
    """The processes of ``torch.distributed``'s default group."""

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self._group = dist.new_group(backend="gloo")  # for CPU tensors, so that decisions do not wait for GPUs

    def broadcast_result(self, decision: Callable[[], Decision]) -> Decision:
        """See ``WorkerGroup``."""
        answer: list[Any] = [None, None]
        if self.is_leader:
            try:
                answer[0] = decision()
            except Exception as error:  # whatever it is, the others must not wait for ever
                answer[1] = error
        dist.broadcast_object_list(answer, src=0, group=self._group, device=torch.device("cpu"))
        if answer[1] is not None:
            raise answer[1]
        result: Decision = answer[0]
        return result

    def all_reduce_sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """See ``WorkerGroup``."""
        result = tensor.detach().cpu().clone()
        dist.all_reduce(result, group=self._group)
        return result

    def broadcast(self, tensor: torch.Tensor) -> torch.Tensor:
        """See ``WorkerGroup``."""
        received = tensor.contiguous()
        dist.broadcast(received, src=0, group=self._group)
        return received


def current_worker_group() -> WorkerGroup:
    """Return the group that this process has joined through ``torch.distributed``, or ``ALONE``."""
    return TorchWorkerGroup() if dist.is_initialized() and dist.get_world_size() > 1 else ALONE
