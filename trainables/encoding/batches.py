"""Encoded examples as padded batches, and which examples each step sees.

Shape legend: B batch, T tokens (prompt and target), right-padded. For encoder-decoder models: S tokens of the source,
T tokens of the target, each right-padded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from trainables.encoding.encoded_sets import EncodedSet
from trainables.seeding import generator

IGNORE = -100
"""Label of a position that is not a target (the convention of Transformers)."""

Batch = dict[str, torch.Tensor]
"""``input_ids``, ``attention_mask`` and ``labels``, each [B, T]; ``labels`` is ``IGNORE`` off the target.

For encoder-decoder models ``input_ids`` and ``attention_mask`` are of the source, [B, S], and ``labels`` [B, T] of the
target.
"""


def collate(
    encoded: EncodedSet, indices: Sequence[int] | npt.NDArray[np.int64], *, device: torch.device | str = "cpu"
) -> Batch:
    """Return the chosen examples as a batch, padded on the right to the longest of them.

    Without examples, the batch is one row of padding that has no targets.
    """
    rows = [torch.from_numpy(encoded.tokens[encoded.offsets[i] : encoded.offsets[i + 1]].copy()) for i in indices]
    starts = [int(encoded.target_starts_N[i]) for i in indices]
    if encoded.encoder_decoder:
        inputs = [row[:start] for row, start in zip(rows, starts, strict=True)]
        labels = [row[start:] for row, start in zip(rows, starts, strict=True)]
    else:
        inputs = rows
        labels = [F.pad(row[start:], (start, 0), value=IGNORE) for row, start in zip(rows, starts, strict=True)]
    batch = {
        "input_ids": _padded(inputs, 0),
        "attention_mask": _padded([torch.ones_like(row) for row in inputs], 1 if not inputs else 0),
        "labels": _padded(labels, IGNORE),
    }
    return {name: tensor.to(device) for name, tensor in batch.items()}


def _padded(rows: list[torch.Tensor], value: int) -> torch.Tensor:
    """Stack rows of different lengths, padded with ``value``; without rows, return one row of padding."""
    if not rows:
        return torch.full((1, 2), value, dtype=torch.long)
    return pad_sequence(rows, batch_first=True, padding_value=value)


def batches_by_length(encoded: EncodedSet, batch_size: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the indices of batches of similar length, which need little padding. Every example comes once."""
    order = np.argsort(np.diff(encoded.offsets), kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


@dataclass(frozen=True, kw_only=True)
class BatchOrder:
    """Which examples step 1, 2, ... sees: a pure function of seed and step, so resuming needs no state.

    Every epoch is a new permutation, cut into equal batches; what is left at the end of an epoch is not used.
    """

    num_examples: int
    batch_size: int
    seed: int

    def indices(self, step: int) -> npt.NDArray[np.int64]:
        """Return the indices of the batch of ``step`` (counted from 1), at most ``batch_size`` of them."""
        size = min(self.batch_size, self.num_examples)
        per_epoch = self.num_examples // size
        epoch, position = divmod(step - 1, per_epoch)
        order = _order_of_epoch(self.seed, epoch, self.num_examples)
        return order[position * size : (position + 1) * size]


@lru_cache(maxsize=2)  # for the forget set and the retain set: drawing millions of numbers takes longer than a step
def _order_of_epoch(seed: int, epoch: int, num_examples: int) -> npt.NDArray[np.int64]:
    order = generator(seed, "batch_order", epoch).permutation(num_examples)
    order.flags.writeable = False
    return order
