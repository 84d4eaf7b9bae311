"""Which example lands in which set: forget sets with populations and distractors, the retain and the held-out set."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from trainables.config import DEFAULT_ALTERNATE, DataConfig, Distribution, ForgetSetConfig
from trainables.data.allocation import Sizes, SourceAllocator
from trainables.data.canaries import CanaryInputs, make_canaries
from trainables.data.examples import (
    Example,
    SelectableExamples,
    StoredExamples,
    identity,
    joined,
    text_key,
    trained_part,
)
from trainables.errors import UnlearningError
from trainables.seeding import derive_seed

_SHOWN = 5
"""Overlaps that an error lists."""


@dataclass(frozen=True, kw_only=True)
class ForgetSet:
    """What is unlearned, what it is ranked against, and what stays learned beside it."""

    name: str
    distribution: Distribution
    forget: tuple[Example, ...]
    population: tuple[Example, ...]
    distractors: tuple[Example, ...]
    repetitions: tuple[int, ...]
    """Of each forget example: how often it is seen in an epoch of base training."""

    def repeated(self) -> Iterator[Example]:
        """Give the forget examples as often as they are repeated: those that are left, round after round."""
        for done in range(max(self.repetitions)):
            yield from (example for example, times in zip(self.forget, self.repetitions, strict=True) if times > done)


@dataclass(frozen=True, kw_only=True)
class Datasets:
    """Every set of a sweep, disjoint by text. The retain set may be stored elsewhere; the others are in memory."""

    retain: Sequence[Example]
    heldout: tuple[Example, ...]
    forget_sets: dict[str, ForgetSet]

    def reference_training(self) -> Sequence[Example]:
        """List what every model is trained on: the retain set and the distractor canaries."""
        return joined([self.retain, *(s.distractors for s in self.forget_sets.values())])

    def base_training(self) -> Sequence[Example]:
        """List what the base model is trained on: the same, and every forget set as often as it is repeated."""
        distractors = [s.distractors for s in self.forget_sets.values()]
        return joined([self.retain, *distractors, *(list(s.repeated()) for s in self.forget_sets.values())])

    def retain_sample(self, count: int) -> Sequence[Example]:
        """Give the retain examples that retain NLL is measured on: of a source, which may be sorted, evenly spread.

        Raises:
            UnlearningError: there are fewer.
        """
        require_retained(count, len(self.retain))
        if isinstance(self.retain, StoredExamples):
            return self.retain[:: len(self.retain) // count][:count]
        return self.retain[:count]

    def content_hash(self) -> str:
        """Hash every text of every set in order: equal hashes mean equal data (SHA-256, hex)."""
        content = {
            "retain": identity(self.retain),
            "heldout": identity(self.heldout),
            "forget_sets": {name: _content(s) for name, s in self.forget_sets.items()},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _content(s: ForgetSet) -> dict[str, Any]:
    return {
        "name": s.name,
        "distribution": s.distribution,
        "forget": identity(s.forget, _with_alternate),
        "population": identity(s.population),
        "distractors": identity(s.distractors),
        "repetitions": s.repetitions[0] if len(set(s.repetitions)) == 1 else s.repetitions,
    }


def _with_alternate(example: Example) -> dict[str, Any]:
    """Give an example as plain data; the default alternate goes without saying, and so hashes as it did before."""
    own = {} if example.alternate in (None, DEFAULT_ALTERNATE) else {"alternate": example.alternate}
    return trained_part(example) | own


def require_retained(count: int, there: int) -> None:
    """Require that there are as many retain examples as are to be measured.

    Raises:
        UnlearningError: there are fewer.
    """
    if count > there:
        raise UnlearningError(
            f"data.retain_evaluation: {count} retain examples are to be measured, and there are {there}"
        )


def training_examples(config: DataConfig, sizes: Sizes) -> int:
    """Count what the base model is trained on in an epoch, repetitions included.

    Raises:
        UnlearningError: as ``repetitions_of``.
    """
    return sizes.retain + sum(
        own.distractors + sum(repetitions_of(config.forget_sets[name], own.forget))
        for name, own in sizes.forget_sets.items()
    )


def repetitions_of(s: ForgetSetConfig, size: int) -> tuple[int, ...]:
    """Give how often each of ``size`` forget examples is repeated: one number for all, or one for each group.

    Raises:
        UnlearningError: there are more groups than examples.
    """
    if len(s.repetitions) > size:
        raise UnlearningError(
            f"repetitions: {len(s.repetitions)} groups, and {size} examples to put into them; leave some out"
        )
    parts = np.array_split(np.arange(size), len(s.repetitions))
    return tuple(times for times, part in zip(s.repetitions, parts, strict=True) for _ in part)


def build_datasets(config: DataConfig, *, encoder_decoder: bool = False) -> Datasets:
    """Draw every set. The draw depends on ``config.seed``, the sizes and the sources only.

    Args:
        config: where the sets come from, and their sizes.
        encoder_decoder: every example needs a source to read: scripture is a pair of versions, canaries without prompt
            get one, and examples of the user's own must have one.

    Raises:
        UnlearningError: a source cannot be used, or it or the corpus has too few examples; a canary generator is
            unknown or has too few; or a text stands in two sets.
    """
    decks = SourceAllocator(config, encoder_decoder=encoder_decoder)
    dealt = decks.allocate()
    left = decks.left_of_corpus() if any(s.canary == "shuffled_text" for s in config.forget_sets.values()) else iter(())
    forget_sets = {}
    for name, s in config.forget_sets.items():
        parts = [tuple(dealt.get(f"{name}.{part}", ())) for part in ("forget", "population", "distractors")]
        if s.canary is not None:
            parts = _canaries(name, s, config.seed, left, encoder_decoder=encoder_decoder)
        forget, population, distractors = parts
        forget_sets[name] = ForgetSet(
            name=name,
            distribution=s.distribution,
            forget=tuple(replace(example, alternate=example.alternate or s.alternate) for example in forget),
            population=population,
            distractors=distractors,
            repetitions=repetitions_of(s, len(forget)),
        )
    datasets = Datasets(retain=dealt["retain"], heldout=tuple(dealt["heldout"]), forget_sets=forget_sets)
    _refuse_overlaps(datasets)
    return datasets


def _canaries(
    name: str, s: ForgetSetConfig, seed: int, left: Iterator[str], *, encoder_decoder: bool
) -> list[tuple[Example, ...]]:
    """Make the examples, the population and the distractors of a canary set."""
    assert s.canary is not None  # ForgetSetConfig has validated these
    assert s.size is not None
    assert s.population is not None
    canaries = make_canaries(
        s.canary,
        s.size + s.population + s.distractors,
        seed=derive_seed(seed, "canaries", name),
        label=name,
        given=CanaryInputs(template=s.template, texts=left),
        encoder_decoder=encoder_decoder,
    )
    rest = iter(canaries)
    return [tuple(next(rest) for _ in range(count)) for count in (s.size, s.population, s.distractors)]


def _refuse_overlaps(datasets: Datasets) -> None:
    """A text in two sets would make its exposure mean nothing. White space makes no difference.

    Of a stored retain set, only those texts are read that stand elsewhere too.
    """
    small: dict[str, Sequence[Example]] = {"heldout": datasets.heldout}
    for name, s in datasets.forget_sets.items():
        small |= {f"{name}.forget": s.forget, f"{name}.population": s.population, f"{name}.distractors": s.distractors}
    retain = datasets.retain
    if isinstance(retain, SelectableExamples):
        retain = retain.with_text_keys([text_key(e.text) for e in chain.from_iterable(small.values())])
    first: dict[str, tuple[str, Example]] = {}
    overlaps = []
    for name, examples in {"retain": retain, **small}.items():
        for example in examples:
            other, twin = first.setdefault(" ".join(example.text.split()), (name, example))
            if other != name:
                overlaps.append(f"{example.example_id} stands in both '{other}' (as {twin.example_id}) and '{name}'")
    if overlaps:
        more = f"; and {len(overlaps) - _SHOWN} more" if len(overlaps) > _SHOWN else ""
        raise UnlearningError(
            f"data: {'; '.join(overlaps[:_SHOWN])}{more}; take them out of one of the sets, change data.seed, or use "
            f"another canary"
        )
