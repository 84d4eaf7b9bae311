"""Sets that are tokenized while they are used, for data too large for memory; and the protocol of all sets."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from trainables.data import Example, StoredExamples
from trainables.encoding.encoded_sets import EncodedSet, encode

_CHUNK = 256
"""Number of examples that are tokenized together in a pass over a whole set."""


class BatchSource(Protocol):
    """What training and ascent draw their batches from: an ``EncodedSet`` or a ``StreamedSet``."""

    def __len__(self) -> int: ...

    @property
    def longest(self) -> int:
        """Index of the longest example."""

    def select(self, indices: Sequence[int]) -> EncodedSet:
        """Return some of the examples, tokenized, in the order of ``indices``."""


@dataclass(frozen=True, kw_only=True)
class StreamedSet:
    """Examples that are read and tokenized when they are asked for. Its pickle has their location, not their texts."""

    tokenizer: Any
    examples: StoredExamples
    options: dict[str, Any]
    """Options of ``encode``."""
    longest: int
    """Index of the longest example."""
    extremes: tuple[int, ...] = ()
    """Indices of the examples with the most tokens (in all, before the target, in it) and with the largest token id."""

    def __len__(self) -> int:
        return len(self.examples)

    def select(self, indices: Sequence[int]) -> EncodedSet:
        """Read and tokenize some of the examples, in the order of ``indices``.

        Raises:
            UnlearningError: the source has changed.
        """
        return encode(self.tokenizer, [self.examples[index] for index in indices], **self.options)


def encode_or_stream(tokenizer: Any, examples: Sequence[Example], **options: Any) -> BatchSource:
    """Tokenize examples. ``StoredExamples`` are only checked now, and tokenized when they are asked for.

    Args:
        tokenizer: of the model.
        examples: what to tokenize.
        options: of ``encode``.

    Raises:
        UnlearningError: an example cannot be scored, or is too long.
    """
    if not isinstance(examples, StoredExamples):
        return encode(tokenizer, examples, **options)
    start, rest = 0, iter(examples)
    most, at = np.full(4, -1), np.zeros(4, dtype=np.int64)
    while some := list(islice(rest, _CHUNK)):
        sizes = _sizes(encode(tokenizer, some, **options))
        larger = sizes.max(axis=1) > most
        most[larger] = sizes.max(axis=1)[larger]
        at[larger] = start + sizes.argmax(axis=1)[larger]
        start += len(some)
    longest, *others = at.tolist()
    extremes = tuple(dict.fromkeys([longest, *others]))
    return StreamedSet(tokenizer=tokenizer, examples=examples, options=options, longest=longest, extremes=extremes)


def _sizes(encoded: EncodedSet) -> npt.NDArray[np.int64]:
    """Return [4, N]: each example's tokens, those before the target, those of the target, and its largest token id."""
    largest_N = np.maximum.reduceat(encoded.tokens, encoded.offsets[:-1])
    return np.stack([np.diff(encoded.offsets), encoded.target_starts_N, encoded.num_targets_N, largest_N])
