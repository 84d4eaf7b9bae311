"""Texts to token ids to padded batches, and which examples each ascent step sees.

Shape legend: N examples, B batch, T tokens (prompt and target), right-padded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from trainables.errors import UnlearningError
from trainables.examples import Example
from trainables.seeding import generator

IGNORE = -100
"""Label of a position that is not a target (the convention of Transformers)."""

Batch = dict[str, torch.Tensor]
"""``input_ids``, ``attention_mask`` and ``labels``, each [B, T]; ``labels`` is ``IGNORE`` off the target."""


@dataclass(frozen=True, kw_only=True)
class EncodedSet:
    """Tokenized examples in flat arrays, so that Ray's object store shares them without copying."""

    example_ids: tuple[str, ...]
    tokens: npt.NDArray[np.int64]
    """All token ids, example after example."""
    offsets: npt.NDArray[np.int64]
    """[N + 1]: example i is ``tokens[offsets[i]:offsets[i + 1]]``."""
    target_starts_N: npt.NDArray[np.int64]
    """First target position within each example."""
    prefix_ends_N: npt.NDArray[np.int64]
    """First target position that extraction has to produce; targets before it are given."""

    def __len__(self) -> int:
        return len(self.example_ids)

    @property
    def num_targets_N(self) -> npt.NDArray[np.int64]:
        """Number of target tokens of each example."""
        return np.diff(self.offsets) - self.target_starts_N

    @property
    def longest(self) -> int:
        """Index of the longest example."""
        return int(np.diff(self.offsets).argmax())

    def select(self, indices: Sequence[int]) -> "EncodedSet":
        """Copy a subset, in the order of ``indices``."""
        pieces = [self.tokens[self.offsets[i] : self.offsets[i + 1]] for i in indices]
        return EncodedSet(
            example_ids=tuple(self.example_ids[i] for i in indices),
            tokens=np.concatenate(pieces),
            offsets=np.cumsum([0, *map(len, pieces)]),
            target_starts_N=self.target_starts_N[list(indices)],
            prefix_ends_N=self.prefix_ends_N[list(indices)],
        )


def encode(
    tokenizer: Any, examples: Sequence[Example], *, max_tokens: int, extraction_prefix: float = 0.5
) -> EncodedSet:
    """Tokenize as ``BOS prompt | completion``; prompt and completion never share a token.

    ``extraction_prefix`` is the share of the target given as prefix where the prompt is empty.

    Raises:
        UnlearningError: an example has no target token or is longer than ``max_tokens``.
    """
    start = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
    pieces, target_starts, prefix_ends = [], [], []
    for example in examples:
        prompt = tokenizer.encode(example.prompt, add_special_tokens=False) if example.prompt else []
        target = tokenizer.encode(example.completion, add_special_tokens=False)
        first = len(start) + len(prompt)
        where = f"example '{example.example_id}'"
        if not target or first == 0:
            raise UnlearningError(
                f"{where}: there is nothing to score; a completion needs a token, and a token before it"
            )
        if first + len(target) > max_tokens:
            raise UnlearningError(
                f"{where}: {first + len(target)} tokens, above data.max_tokens = {max_tokens}; raise it or drop it"
            )
        pieces.append([*start, *prompt, *target])
        target_starts.append(first)
        prefix_ends.append(first if example.prompt else first + int(len(target) * extraction_prefix))
    return EncodedSet(
        example_ids=tuple(example.example_id for example in examples),
        tokens=np.array([token for piece in pieces for token in piece], dtype=np.int64),
        offsets=np.cumsum([0, *map(len, pieces)]),
        target_starts_N=np.array(target_starts, dtype=np.int64),
        prefix_ends_N=np.array(prefix_ends, dtype=np.int64),
    )


def collate(
    encoded: EncodedSet, indices: Sequence[int] | npt.NDArray[np.int64], *, device: torch.device | str = "cpu"
) -> Batch:
    """Pad the chosen examples on the right to the longest of them. No example: one row without targets."""
    lengths = [int(encoded.offsets[i + 1] - encoded.offsets[i]) for i in indices]
    shape = (max(1, len(lengths)), max(lengths, default=2))
    input_ids_BT = torch.zeros(shape, dtype=torch.long)
    attention_mask_BT = torch.full(shape, 0 if lengths else 1, dtype=torch.long)
    labels_BT = torch.full(shape, IGNORE, dtype=torch.long)
    for row, (i, length) in enumerate(zip(indices, lengths, strict=True)):
        tokens = torch.from_numpy(encoded.tokens[encoded.offsets[i] : encoded.offsets[i + 1]].copy())
        target = int(encoded.target_starts_N[i])
        input_ids_BT[row, :length] = tokens
        attention_mask_BT[row, :length] = 1
        labels_BT[row, target:length] = tokens[target:]
    batch = {"input_ids": input_ids_BT, "attention_mask": attention_mask_BT, "labels": labels_BT}
    return {name: tensor.to(device) for name, tensor in batch.items()}


def batches_by_length(encoded: EncodedSet, batch_size: int) -> Iterator[npt.NDArray[np.int64]]:
    """Cut a set into batches of similar length, so that little is padding. Every example comes once."""
    order = np.argsort(np.diff(encoded.offsets), kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


@dataclass(frozen=True, kw_only=True)
class BatchOrder:
    """Which examples step 1, 2, ... sees: a pure function of seed and step, so resuming needs no state.

    Every epoch is a fresh permutation, cut into equal batches; the ragged end of an epoch is left out.
    """

    num_examples: int
    batch_size: int
    seed: int

    def indices(self, step: int) -> npt.NDArray[np.int64]:
        """Give the indices of the batch of ``step`` (counted from 1), at most ``batch_size`` of them."""
        size = min(self.batch_size, self.num_examples)
        per_epoch = self.num_examples // size
        epoch, position = divmod(step - 1, per_epoch)
        order = _order_of_epoch(self.seed, epoch, self.num_examples)
        return order[position * size : (position + 1) * size]


@lru_cache(maxsize=2)  # of the forget and the retain set: of millions of examples it takes longer to draw than a step
def _order_of_epoch(seed: int, epoch: int, num_examples: int) -> npt.NDArray[np.int64]:
    order = generator(seed, "batch_order", epoch).permutation(num_examples)
    order.flags.writeable = False
    return order
