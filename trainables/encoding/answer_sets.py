"""A set of prompts with several answers to each, as token ids."""

from collections.abc import Sequence
from dataclasses import dataclass

from trainables.encoding.encoded_sets import EncodedSet


@dataclass(frozen=True, kw_only=True)
class AnswerSets:
    """Answers to the same prompts. Every set has the same examples, by the same ids and in the same order."""

    original: EncodedSet
    """The completions."""
    paraphrase: EncodedSet | None = None
    """The completions in other words; None: the data has none."""
    perturbed: tuple[EncodedSet, ...] = ()
    """Wrong answers: the first of every example, the second of every example, and so on; empty: the data has none."""

    @property
    def parts(self) -> tuple[EncodedSet, ...]:
        """The sets of all answers."""
        return (self.original, *([] if self.paraphrase is None else [self.paraphrase]), *self.perturbed)

    def select(self, indices: Sequence[int]) -> "AnswerSets":
        """Return the answers to some of the prompts, in the order of ``indices``."""
        return AnswerSets(
            original=self.original.select(indices),
            paraphrase=None if self.paraphrase is None else self.paraphrase.select(indices),
            perturbed=tuple(answers.select(indices) for answers in self.perturbed),
        )
