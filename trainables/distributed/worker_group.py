"""The processes that run one trial together: each computes its share, and one decides for all.

What depends on a clock, on storage or on chance is the leader's to decide, so that all take the same steps and none
waits for a partner that went another way. One process alone agrees with itself and pays nothing for it.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

Decision = TypeVar("Decision")


class WorkerGroup:
    """One process, and what it would share with others."""

    rank = 0
    size = 1

    @property
    def is_leader(self) -> bool:
        """Whether this process decides for the others."""
        return self.rank == 0

    def shard(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Give this process's part of a list that all have alike; parts differ by at most one in length."""
        return indices[self.rank :: self.size]

    def broadcast_result(self, decision: Callable[[], Decision]) -> Decision:
        """Give the leader's answer in every process; it alone is asked. What it raises, all raise."""
        return decision()

    def all_reduce_sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Add up the tensors of all processes, which all get the same sum, bit for bit."""
        return tensor

    def broadcast(self, tensor: torch.Tensor) -> torch.Tensor:
        """Give every process the leader's tensor; the others pass one of its shape and type to receive it, on CPU."""
        return tensor


ALONE = WorkerGroup()
"""One process that works with nobody."""


class TorchWorkerGroup(WorkerGroup):
    """The processes of ``torch.distributed``'s default group."""

    def __init__(self) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self._group = dist.new_group(backend="gloo")  # decisions are made on CPUs, and do not wait for GPUs

    def broadcast_result(self, decision: Callable[[], Decision]) -> Decision:
        """Give the leader's answer in every process."""
        answer: list[Any] = [None, None]
        if self.is_leader:
            try:
                answer[0] = decision()
            except Exception as error:  # whatever it is, the others would wait for an answer for ever
                answer[1] = error
        dist.broadcast_object_list(answer, src=0, group=self._group, device=torch.device("cpu"))
        if answer[1] is not None:
            raise answer[1]
        result: Decision = answer[0]
        return result

    def all_reduce_sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Add up the tensors of all processes."""
        result = tensor.detach().cpu().clone()
        dist.all_reduce(result, group=self._group)
        return result

    def broadcast(self, tensor: torch.Tensor) -> torch.Tensor:
        """Give every process the leader's tensor."""
        received = tensor.contiguous()
        dist.broadcast(received, src=0, group=self._group)
        return received


def current_worker_group() -> WorkerGroup:
    """Find whom this process works with: those that it has joined by ``torch.distributed``, or nobody."""
    return TorchWorkerGroup() if dist.is_initialized() and dist.get_world_size() > 1 else ALONE
