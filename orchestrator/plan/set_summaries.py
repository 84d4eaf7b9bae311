"""Sizes of a sweep's sets and lengths of their examples, as ``plan`` shows them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from orchestrator.plan.evaluated_examples import keys_scored
from trainables.data import Sizes

if TYPE_CHECKING:
    from orchestrator.preparation import SweepInputs

Lengths = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SetSummary:
    """Size and lengths of one set."""

    forget_set: str | None
    """The forget set that it belongs to; None: the whole sweep."""
    part: str
    """``forget``, ``population`` or ``distractors``; ``retain`` or ``heldout``; or the name of an evaluation set."""
    examples: int
    median_tokens: float | None = None
    """Including special tokens and the prompt; for a large retain set, of the examples that were tokenized. None: not
    known."""
    longest_tokens: int | None = None


def summaries_of(sizes: Sizes, inputs: "SweepInputs | None" = None) -> tuple[SetSummary, ...]:
    """Return a summary of every set of a sweep, with lengths for the sets that were tokenized."""
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
    for name, examples in sizes.evaluation.items():
        yield f"data.evaluation_sets.{name}", None, name, examples


@dataclass(frozen=True, kw_only=True)
class TypicalLengths:
    """Tokens of a typical example, including padding, in the batches that a sweep computes."""

    training: int
    """In training batches, which are drawn at random and as long as their longest example."""
    forget: int
    """In ascent batches, on average over the forget sets."""
    scored: int
    """In evaluations, whose batches have examples of one length each."""


def typical_lengths(inputs: "SweepInputs") -> TypicalLengths:
    """Return the typical lengths of a sweep's examples."""
    spec = inputs.spec
    names = list(spec.data.forget_sets)
    batch_size = max(config.batch_size for config in spec.corner_configs)
    forget = [_lengths(inputs, f"data.forget_sets.{name} (forget)") for name in names]
    distractors = [_lengths(inputs, f"data.forget_sets.{name} (distractors)") for name in names]
    trained = np.concatenate([_lengths(inputs, "data.retain"), *forget, *distractors])
    evaluated = {key for name in names for key in keys_scored(spec, name, inputs.encoded)}
    scored = np.concatenate([np.diff(inputs.encoded[key].offsets) for key in sorted(evaluated)])
    return TypicalLengths(
        training=round(_longest_of_a_batch(trained, spec.preparation.batch_size)),
        forget=round(float(np.mean([_longest_of_a_batch(own, batch_size) for own in forget]))),
        scored=round(float(scored.mean())),
    )


def _lengths(inputs: "SweepInputs", where: str) -> Lengths:
    encoded = inputs.retained.get(where) or inputs.encoded[where]
    return np.diff(encoded.offsets)


def _longest_of_a_batch(lengths_N: Lengths, batch_size: int) -> float:
    """Return the typical length of the longest example in a batch."""
    return float(np.quantile(lengths_N, batch_size / (batch_size + 1)))
