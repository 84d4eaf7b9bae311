"""Which examples each step of a trajectory sees, cut into the micro-batches of one worker."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from trainables.config import TrialConfig
from trainables.distributed import WorkerGroup
from trainables.encoding import Batch, BatchOrder, BatchSource, EncodedSet, collate
from trainables.metrics import StepCounts
from trainables.seeding import derive_seed

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class AscentData:
    """The data that a trajectory may see."""

    forget: EncodedSet
    retain: BatchSource
    alternates: EncodedSet | None = None
    """The forget set with other answers, example by example; None: the objective needs none."""


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """The batches of one forward and backward pass of one worker."""

    forget: Batch
    retain: Batch | None
    """None: the objective has no retain term."""
    alternate: Batch | None
    """The forget examples with other answers, row by row; None: the objective needs none."""


@dataclass(frozen=True, kw_only=True)
class StepBatch:
    """The examples of one step. Counts are of all workers' examples; parts are this worker's micro-batches."""

    data: AscentData
    retained: EncodedSet | None
    """The step's retained examples; None: the objective has no retain term."""
    forget_counts: StepCounts
    """Counts of the forget examples of all workers."""
    retain_counts: StepCounts | None
    """Counts of ``retained``."""
    parts: list[tuple[Indices, Indices]]
    """For each micro-batch its examples, as indices of the forget set and indices of ``retained``."""

    @property
    def num_tokens(self) -> int:
        """Number of forget targets in the step, of all workers."""
        return int(self.forget_counts.targets_N.sum())

    def micro_batches(self, device: torch.device) -> Iterator[MicroBatch]:
        """Yield this worker's micro-batches on a device, one after another."""
        alternates = self.data.alternates
        for forget, retain in self.parts:
            yield MicroBatch(
                forget=collate(self.data.forget, forget, device=device),
                retain=collate(self.retained, retain, device=device) if self.retained is not None else None,
                alternate=collate(alternates, forget, device=device) if alternates is not None else None,
            )


class BatchPlan:
    """The batches of a trajectory: a pure function of seed and step, so that resuming needs no state.

    Args:
        data: what the trajectory may see.
        config: of the trial.
        retains: whether the objective has a retain term.
        seed: of the trial.
        group: the workers that share each batch.
    """

    def __init__(self, data: AscentData, config: TrialConfig, *, retains: bool, seed: int, group: WorkerGroup) -> None:
        self._data = data
        self._retains = retains
        self._group = group
        self._micro_batch_size = config.micro_batch_size
        examples = min(config.batch_size, len(data.forget))
        self._forget_order = BatchOrder(
            num_examples=len(data.forget), batch_size=examples, seed=derive_seed(seed, "forget")
        )
        self._retain_order = BatchOrder(
            num_examples=len(data.retain), batch_size=examples, seed=derive_seed(seed, "retain")
        )

    def step(self, number: int) -> StepBatch:
        """Return the batch of a step, counted from 1."""
        forget = self._forget_order.indices(number)
        retained = self._data.retain.select(self._retain_order.indices(number).tolist()) if self._retains else None
        return StepBatch(
            data=self._data,
            retained=retained,
            forget_counts=StepCounts.of(self._data.forget.select(forget.tolist())),
            retain_counts=StepCounts.of(retained) if retained is not None else None,
            parts=list(self._parts(forget, np.arange(len(retained) if retained is not None else 0))),
        )

    def _parts(self, forget: Indices, retain: Indices) -> Iterator[tuple[Indices, Indices]]:
        """Cut this worker's shard of both batches into near-equal parts, each of at most ``micro_batch_size`` examples.

        All workers have as many parts as the largest shard needs. A smaller shard, and a retain set smaller than the
        forget batch, leave some parts empty.
        """
        largest_shard = -(-len(forget) // self._group.size)
        parts = -(-largest_shard // (self._micro_batch_size or largest_shard))
        forget, retain = self._group.shard(forget), self._group.shard(retain)
        return zip(np.array_split(forget, parts), np.array_split(retain, parts), strict=True)
