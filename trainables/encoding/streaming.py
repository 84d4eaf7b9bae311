"""Sets that are tokenized as they are used, and those that are tokenized at once, by one protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from trainables.data import Example, StoredExamples
from trainables.encoding.batching import EncodedSet, encode

_AT_ONCE = 256
"""Examples that are tokenized together where a whole set is looked through."""


class BatchSource(Protocol):
    """What training and ascent draw their batches from. ``EncodedSet`` is one, ``StreamedSet`` another."""

    def __len__(self) -> int: ...

    @property
    def longest(self) -> int:
        """Index of the longest example."""

    def select(self, indices: Sequence[int]) -> EncodedSet:
        """Give some of the examples, tokenized, in the order of ``indices``."""


@dataclass(frozen=True, kw_only=True)
class StreamedSet:
    """Examples that are read and tokenized when they are asked for. Pickled by where they are, not by what they say."""

    tokenizer: Any
    examples: StoredExamples
    options: dict[str, Any]
    """Of ``encode``."""
    longest: int
    """Index of the longest example."""
    extremes: tuple[int, ...] = ()
    """Indices of the examples of the most tokens, before the target and in it, and of the largest token id."""

    def __len__(self) -> int:
        return len(self.examples)

    def select(self, indices: Sequence[int]) -> EncodedSet:
        """Read and tokenize some of the examples, in the order of ``indices``.

        Raises:
            UnlearningError: the source is not what it was.
        """
        return encode(self.tokenizer, [self.examples[index] for index in indices], **self.options)


def encode_or_stream(tokenizer: Any, examples: Sequence[Example], **options: Any) -> BatchSource:
    """Tokenize examples; those that are stored elsewhere later, but look through them now, some at a time.

    Args:
        tokenizer: of the model.
        examples: what is to be tokenized.
        options: of ``encode``.

    Raises:
        UnlearningError: an example cannot be scored, or is too long.
    """
    if not isinstance(examples, StoredExamples):
        return encode(tokenizer, examples, **options)
    start, rest = 0, iter(examples)
    most, at = np.full(4, -1), np.zeros(4, dtype=np.int64)
    while some := list(islice(rest, _AT_ONCE)):
        sizes = _sizes(encode(tokenizer, some, **options))
        larger = sizes.max(axis=1) > most
        most[larger] = sizes.max(axis=1)[larger]
        at[larger] = start + sizes.argmax(axis=1)[larger]
        start += len(some)
    longest, *others = at.tolist()
    extremes = tuple(dict.fromkeys([longest, *others]))
    return StreamedSet(tokenizer=tokenizer, examples=examples, options=options, longest=longest, extremes=extremes)


def _sizes(encoded: EncodedSet) -> npt.NDArray[np.int64]:
    """Measure each example, [4, N]: all its tokens, those before the target, those of the target, the largest id."""
    largest_N = np.maximum.reduceat(encoded.tokens, encoded.offsets[:-1])
    return np.stack([np.diff(encoded.offsets), encoded.target_starts_N, encoded.num_targets_N, largest_N])
