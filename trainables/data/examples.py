"""An ``Example``, and sequences of examples that need not be in memory."""

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
    """Another answer to the prompt, for objectives that train it in place of the completion."""
    paraphrase: str | None = None
    """The completion in other words, for metrics that compare right answers with wrong ones."""
    perturbed: tuple[str, ...] = ()
    """Wrong answers to the prompt, for the same metrics. All examples of a set have equally many."""
    other_prompts: tuple[str, ...] = ()
    """The prompt in other words, for the probe ``rewording``."""

    @property
    def text(self) -> str:
        """Prompt and completion as one string."""
        return self.prompt + self.completion


def shortened(text: str, most: int = 40) -> str:
    """Return the beginning of a text in quotes, for a message."""
    return repr(text if len(text) <= most else f"{text[:most]}...")


def trained_fields(example: Example) -> dict[str, str]:
    """Return, as plain data, the fields that a model trained on the example depends on."""
    return {"example_id": example.example_id, "prompt": example.prompt, "completion": example.completion}


def scored_fields(example: Example) -> dict[str, Any]:
    """Return, as plain data, the fields that scores of the example depend on, without the texts that it lacks."""
    others: dict[str, Any] = {
        "paraphrase": example.paraphrase,
        "perturbed": list(example.perturbed),
        "other_prompts": list(example.other_prompts),
    }
    return trained_fields(example) | {name: found for name, found in others.items() if found}


def text_key(text: str) -> int:
    """Return a 64-bit hash of a text that ignores the amount of white space between words.

    Among 10 million texts, two have the same hash by chance with a probability of 3 in a million.
    """
    return hash_text(" ".join(text.split()))


def hash_text(text: str) -> int:
    """Return a hash of a text as a signed 64-bit number (BLAKE2b)."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


class StoredExamples(Sequence[Example]):
    """Examples that are read from where they are stored when they are needed. Their pickle has only the location."""

    @abstractmethod
    def identity(self) -> Any:
        """Return plain data that is equal if, and only if, the examples are equal."""

    @abstractmethod
    def _read(self, index: int) -> Example:
        """Return the example at an index, which is not negative."""

    @abstractmethod
    def _slice(self, indices: range) -> Sequence[Example]:
        """Return the examples at some indices."""

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...

    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return self._slice(range(len(self))[index])
        return self._read(range(len(self))[index])


class SelectableExamples(StoredExamples):
    """Stored examples that can be selected, in any order, without reading the others."""

    @abstractmethod
    def select(self, indices: npt.NDArray[np.int64]) -> "SelectableExamples":
        """Return some of the examples, in the order of ``indices``."""

    @abstractmethod
    def where(self, keep: Callable[[Example], bool]) -> "SelectableExamples":
        """Return the examples for which ``keep`` returns true, in their order."""

    @abstractmethod
    def with_text_keys(self, keys: Sequence[int]) -> "SelectableExamples":
        """Return the examples whose ``text_key`` is one of ``keys``. No text is read."""


class ConcatenatedExamples(StoredExamples):
    """Several sequences, one after another, some of which are stored."""

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

    def _slice(self, indices: range) -> Sequence[Example]:
        return [self._read(index) for index in indices]

    def identity(self) -> Any:
        """Return the identities of the parts."""
        return [identity(part) for part in self._parts]


def concatenate(parts: Sequence[Sequence[Example]]) -> Sequence[Example]:
    """Return several sequences as one; as a list, unless one of them is stored."""
    if any(isinstance(part, StoredExamples) for part in parts):
        return ConcatenatedExamples(parts)
    return [example for part in parts for example in part]


def identity(examples: Sequence[Example], of: Callable[[Example], Any] = trained_fields) -> Any:
    """Return plain data that identifies a sequence: ``of`` each example, or the identity of stored examples."""
    return examples.identity() if isinstance(examples, StoredExamples) else [of(example) for example in examples]
