"""An ``Example``, and sequences of them that need not be in memory."""

import hashlib
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, overload

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class Example:
    """One text. Only ``completion`` is scored and trained on; ``prompt`` may be empty."""

    example_id: str
    prompt: str
    completion: str
    alternate: str | None = None
    """Another answer to the prompt, for objectives that train one in place of what is forgotten."""

    @property
    def text(self) -> str:
        """Prompt and completion as one string."""
        return self.prompt + self.completion


def shortened(text: str, most: int = 40) -> str:
    """Quote the beginning of a text, for a message."""
    return repr(text if len(text) <= most else f"{text[:most]}...")


def trained_fields(example: Example) -> dict[str, str]:
    """Give what a model that is trained on the example depends on, as plain data."""
    return {"example_id": example.example_id, "prompt": example.prompt, "completion": example.completion}


def text_key(text: str) -> int:
    """Hash a text to a signed 64-bit number (BLAKE2b), without regard to how much white space stands where some does.

    Among 10 million texts, two have the same key by chance with a probability of 3 in a million.
    """
    return hash_text(" ".join(text.split()))


def hash_text(text: str) -> int:
    """Hash a text to a signed 64-bit number (BLAKE2b)."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


class StoredExamples(Sequence[Example]):
    """Examples that are read where they are kept when they are asked for. Pickled by where that is, without them."""

    @abstractmethod
    def identity(self) -> Any:
        """Give plain data that is equal where, and only where, the examples are."""

    @abstractmethod
    def _read(self, index: int) -> Example:
        """Read the example of an index that is not negative."""

    @abstractmethod
    def _some(self, indices: range) -> Sequence[Example]:
        """Give a part of them."""

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...

    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return self._some(range(len(self))[index])
        return self._read(range(len(self))[index])


class SelectableExamples(StoredExamples):
    """Stored examples of which any may be picked, in any order, without reading the others."""

    @abstractmethod
    def select(self, indices: npt.NDArray[np.int64]) -> "SelectableExamples":
        """Return some of the examples, in the order of ``indices``."""

    @abstractmethod
    def where(self, keep: Callable[[Example], bool]) -> "SelectableExamples":
        """Return the examples that ``keep`` says yes to, in their order."""

    @abstractmethod
    def with_text_keys(self, keys: Sequence[int]) -> "SelectableExamples":
        """Return those examples whose text has one of some keys. No text is read."""


class ConcatenatedExamples(StoredExamples):
    """Several sequences one after another."""

    def __init__(self, parts: Sequence[Sequence[Example]]) -> None:
        self._parts = [part for part in parts if part]
        self._ends = list(accumulate(map(len, self._parts)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Example]:
        for part in self._parts:
            yield from part

    def _read(self, index: int) -> Example:
        which = bisect_right(self._ends, index)
        return self._parts[which][index - self._ends[which]]

    def _some(self, indices: range) -> Sequence[Example]:
        return [self._read(index) for index in indices]

    def identity(self) -> Any:
        """List the identities of its parts."""
        return [identity(part) for part in self._parts]


def concatenate(parts: Sequence[Sequence[Example]]) -> Sequence[Example]:
    """Join sequences: to a list, unless one of them is stored elsewhere."""
    if any(isinstance(part, StoredExamples) for part in parts):
        return ConcatenatedExamples(parts)
    return [example for part in parts for example in part]


def identity(examples: Sequence[Example], of: Callable[[Example], Any] = trained_fields) -> Any:
    """Give plain data that tells two sequences apart: what ``of`` gives of each, or what stands for a stored one."""
    return examples.identity() if isinstance(examples, StoredExamples) else [of(example) for example in examples]
