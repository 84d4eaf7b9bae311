"""A set of prompts with several answers to each, as token ids."""

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
