"""How large each set of a sweep is, and how long its examples are: what ``plan`` shows before anything is trained."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trainables.data import Sizes

if TYPE_CHECKING:
    from orchestrator.preparation import SweepInputs

Lengths = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SetSummary:
    """One set."""

    forget_set: str | None
    """Whose it is; None: of the whole sweep."""
    part: str
    """``forget``, ``population`` or ``distractors``; ``retain`` or ``heldout``."""
    examples: int
    median_tokens: float | None = None
    """Special tokens, and the prompt, included; of a large retain set, of the examples that were looked at. None: not
    known."""
    longest_tokens: int | None = None


def summaries_of(sizes: Sizes, inputs: "SweepInputs | None" = None) -> tuple[SetSummary, ...]:
    """Return every set of a sweep, with the lengths of its examples where they were tokenized."""
    encoded = {} if inputs is None else {**inputs.encoded, **inputs.retained}
    found = []
    for where, forget_set, part, examples in _sets(sizes):
        lengths = np.diff(encoded[where].offsets) if where in encoded else np.array([])
        known = len(lengths) > 0
        found.append(
            SetSummary(
                forget_set=forget_set,
                part=part,
                examples=examples,
                median_tokens=float(np.median(lengths)) if known else None,
                longest_tokens=int(lengths.max()) if known else None,
            )
        )
    return tuple(found)


def _sets(sizes: Sizes) -> Iterator[tuple[str, str | None, str, int]]:
    for name, own in sizes.forget_sets.items():
        for part, examples in (
            ("forget", own.forget), ("population", own.population), ("distractors", own.distractors),
        ):  # fmt: skip
            if examples:
                yield f"data.forget_sets.{name} ({part})", name, part, examples
    yield "data.retain", None, "retain", sizes.retain
    yield "data.heldout", None, "heldout", sizes.heldout


@dataclass(frozen=True, kw_only=True)
class TypicalLengths:
    """Tokens of an example, padding included, where whole batches of them are computed."""

    training: int
    """Of preparation: a batch drawn at random is as long as its longest."""
    forget: int
    """Of ascent, the mean over the forget sets."""
    scored: int
    """Of evaluations, whose batches are of one length each."""


def typical_lengths(inputs: "SweepInputs") -> TypicalLengths:
    """Return how long the examples of a sweep are where they are computed."""
    spec = inputs.spec
    names = list(spec.data.forget_sets)
    batch_size = max(config.batch_size for config in spec.corner_configs)
    forget = [_lengths(inputs, f"data.forget_sets.{name} (forget)") for name in names]
    distractors = [_lengths(inputs, f"data.forget_sets.{name} (distractors)") for name in names]
    trained = np.concatenate([_lengths(inputs, "data.retain"), *forget, *distractors])
    scored = np.concatenate([np.diff(encoded.offsets) for encoded in inputs.encoded.values()])
    return TypicalLengths(
        training=round(_longest_of_a_batch(trained, spec.preparation.batch_size)),
        forget=round(float(np.mean([_longest_of_a_batch(own, batch_size) for own in forget]))),
        scored=round(float(scored.mean())),
    )


def _lengths(inputs: "SweepInputs", where: str) -> Lengths:
    encoded = inputs.retained.get(where) or inputs.encoded[where]
    return np.diff(encoded.offsets)


def _longest_of_a_batch(lengths_N: Lengths, batch_size: int) -> float:
    """Return how long the longest of so many examples is, as a rule."""
    return float(np.quantile(lengths_N, batch_size / (batch_size + 1)))
