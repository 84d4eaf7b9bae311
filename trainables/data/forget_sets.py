"""The sets of examples: forget sets with their populations and distractors, the retain set and the held-out set."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from trainables.config import DEFAULT_ALTERNATE, DataConfig, Distribution, ForgetSetConfig
from trainables.data.allocation import SourceAllocator, evaluation_part
from trainables.data.canaries import CanaryInputs, make_canaries
from trainables.data.examples import (
    Example,
    SelectableExamples,
    StoredExamples,
    concatenate,
    identity,
    scored_fields,
    text_key,
)
from trainables.data.sizes import repetitions_of, require_retained
from trainables.errors import UnlearningError
from trainables.seeding import derive_seed

_SHOWN = 5
"""Number of overlaps that an error lists."""


@dataclass(frozen=True, kw_only=True)
class ForgetSet:
    """Examples to unlearn, the population they are ranked against, and distractors, which stay learned."""

    name: str
    distribution: Distribution
    forget: tuple[Example, ...]
    population: tuple[Example, ...]
    distractors: tuple[Example, ...]
    repetitions: tuple[int, ...]
    """How often each forget example is seen in an epoch of base training."""

    def repeated(self) -> Iterator[Example]:
        """Yield every forget example as often as it is repeated, round by round."""
        for done in range(max(self.repetitions)):
            yield from (example for example, times in zip(self.forget, self.repetitions, strict=True) if times > done)

    def part(self, name: str, members: Sequence[int]) -> "ForgetSet":
        """Return the examples of some indices as a forget set of another name, with the same other sets."""
        return replace(
            self,
            name=name,
            forget=tuple(self.forget[i] for i in members),
            repetitions=tuple(self.repetitions[i] for i in members),
        )


@dataclass(frozen=True, kw_only=True)
class Datasets:
    """Every set of a sweep. They are disjoint by text, and all but the retain set are in memory."""

    retain: Sequence[Example]
    heldout: tuple[Example, ...]
    forget_sets: dict[str, ForgetSet]
    evaluation: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)
    """Further sets that evaluations may score, by name; they may share texts with any set but a forget set."""

    def reference_training(self) -> Sequence[Example]:
        """Return what every model is trained on: the retain set and the distractors."""
        return concatenate([self.retain, *(s.distractors for s in self.forget_sets.values())])

    def base_training(self) -> Sequence[Example]:
        """Return what the base model is trained on: the same, and every forget set with its repetitions."""
        distractors = [s.distractors for s in self.forget_sets.values()]
        return concatenate([self.retain, *distractors, *(list(s.repeated()) for s in self.forget_sets.values())])

    def retain_sample(self, count: int) -> Sequence[Example]:
        """Return ``count`` retain examples to measure retain NLL on. Of a source, which may be sorted, evenly spaced.

        Raises:
            UnlearningError: there are fewer.
        """
        require_retained(count, len(self.retain))
        if isinstance(self.retain, StoredExamples):
            return self.retain[:: len(self.retain) // count][:count]
        return self.retain[:count]

    def content_hash(self) -> str:
        """Return a hash of every text of every set in order (SHA-256, hex): equal hashes mean equal data."""
        content = {
            "retain": identity(self.retain),
            "heldout": identity(self.heldout),
            "forget_sets": {name: _content(s) for name, s in self.forget_sets.items()},
        }
        if self.evaluation:
            content["evaluation"] = {name: identity(own, scored_fields) for name, own in self.evaluation.items()}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _content(s: ForgetSet) -> dict[str, Any]:
    return {
        "name": s.name,
        "distribution": s.distribution,
        "forget": identity(s.forget, _scored_or_trained),
        "population": identity(s.population),
        "distractors": identity(s.distractors),
        "repetitions": s.repetitions[0] if len(set(s.repetitions)) == 1 else s.repetitions,
    }


def _scored_or_trained(example: Example) -> dict[str, Any]:
    """Return an example as plain data, without a default alternate, so that older content hashes stay valid."""
    own = {} if example.alternate in (None, DEFAULT_ALTERNATE) else {"alternate": example.alternate}
    return scored_fields(example) | own


def build_datasets(config: DataConfig, *, encoder_decoder: bool = False) -> Datasets:
    """Return every set of a sweep. They depend on ``config.seed``, the sizes and the sources only.

    Args:
        config: where the sets come from, and their sizes.
        encoder_decoder: whether the model is one. Then every example needs a prompt: scripture is a pair of versions,
            canaries without prompt get one, and the user's own examples must have one.

    Raises:
        UnlearningError: a source cannot be used, or it or the corpus has too few examples; a canary generator is
            unknown or has too few; or a text is in two sets.
    """
    allocator = SourceAllocator(config, encoder_decoder=encoder_decoder)
    allocated = allocator.allocate()
    shuffles_corpus = any(s.canary == "shuffled_text" for s in config.forget_sets.values())
    unused_texts = allocator.unallocated_corpus_texts() if shuffles_corpus else iter(())
    forget_sets = {}
    for name, s in config.forget_sets.items():
        parts = [tuple(allocated.get(f"{name}.{part}", ())) for part in ("forget", "population", "distractors")]
        if s.canary is not None:
            parts = _canaries(name, s, config.seed, unused_texts, encoder_decoder=encoder_decoder)
        forget, population, distractors = parts
        forget_sets[name] = ForgetSet(
            name=name,
            distribution=s.distribution,
            forget=tuple(replace(example, alternate=example.alternate or s.alternate) for example in forget),
            population=population,
            distractors=distractors,
            repetitions=repetitions_of(s, len(forget)),
        )
    datasets = Datasets(
        retain=allocated["retain"],
        heldout=tuple(allocated["heldout"]),
        forget_sets=forget_sets,
        evaluation={name: tuple(allocated[evaluation_part(name)]) for name in config.evaluation_sets},
    )
    _refuse_overlaps(datasets)
    return datasets


def _canaries(
    name: str, s: ForgetSetConfig, seed: int, unused_texts: Iterator[str], *, encoder_decoder: bool
) -> list[tuple[Example, ...]]:
    """Return the forget examples, the population and the distractors of a canary set."""
    assert s.canary is not None  # ForgetSetConfig has validated these
    assert s.size is not None
    assert s.population is not None
    canaries = make_canaries(
        s.canary,
        s.size + s.population + s.distractors,
        seed=derive_seed(seed, "canaries", name),
        label=name,
        given=CanaryInputs(template=s.template, texts=unused_texts),
        encoder_decoder=encoder_decoder,
    )
    rest = iter(canaries)
    return [tuple(next(rest) for _ in range(count)) for count in (s.size, s.population, s.distractors)]


def _refuse_overlaps(datasets: Datasets) -> None:
    """Refuse texts that are in two sets, since their exposure would mean nothing. White space makes no difference.
    Evaluation sets, which nothing is trained on, may only not hold texts of a forget set.

    Of a stored retain set, only those texts are read that are in another set too.

    Raises:
        UnlearningError: a text is in two sets.
    """
    small: dict[str, Sequence[Example]] = {"heldout": datasets.heldout}
    for name, s in datasets.forget_sets.items():
        small |= {f"{name}.forget": s.forget, f"{name}.population": s.population, f"{name}.distractors": s.distractors}
    retain = datasets.retain
    if isinstance(retain, SelectableExamples):
        retain = retain.with_text_keys([text_key(e.text) for e in chain.from_iterable(small.values())])
    first: dict[str, tuple[str, Example]] = {}
    overlaps = []
    forgotten = {f"{name}.forget" for name in datasets.forget_sets}
    scored = {f"evaluation_sets.{name}": own for name, own in datasets.evaluation.items()}
    for name, examples in {"retain": retain, **small, **scored}.items():
        for example in examples:
            other, twin = first.setdefault(" ".join(example.text.split()), (name, example))
            if other != name and (name not in scored or other in forgotten):
                overlaps.append(f"{example.example_id} is in both '{other}' (as {twin.example_id}) and '{name}'")
    if overlaps:
        more = f"; and {len(overlaps) - _SHOWN} more" if len(overlaps) > _SHOWN else ""
        raise UnlearningError(
            f"data: {'; '.join(overlaps[:_SHOWN])}{more}; take them out of one of the sets, change data.seed, or use "
            f"another canary"
        )
