"""How the examples of the corpus and of sources are allocated to sets.

Sets that name the same source divide it among themselves, so that they have no example in common.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainables.config import CorpusConfig, DataConfig, SourceConfig
from trainables.data.corpora import load_corpus, open_source
from trainables.data.examples import Example, SelectableExamples
from trainables.errors import UnlearningError
from trainables.seeding import generator

Part = str
"""``retain``, ``heldout``, ``NAME.forget``, ``NAME.population``, ``NAME.distractors`` of a forget set, or ``:NAME``, an
evaluation set."""
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What one set takes from a source."""

    part: Part
    source: SourceConfig | None
    """None: the corpus."""
    count: int | None
    """Number of examples; None: all that the other sets leave."""


def draws_of(config: DataConfig) -> list[Draw]:
    """Return what is drawn from the corpus and from sources, in order of allocation. Canaries are not drawn."""
    draws = [
        Draw(part="heldout", source=config.heldout_source, count=config.heldout),
        Draw(part="retain", source=config.retain_source, count=config.retain),
    ]
    for name, s in config.forget_sets.items():
        if s.canary is None:
            draws += [
                Draw(part=f"{name}.forget", source=s.source, count=s.size),
                Draw(part=f"{name}.population", source=s.population_source or s.source, count=s.population),
                Draw(part=f"{name}.distractors", source=s.source, count=s.distractors),
            ]
    draws += [
        Draw(part=evaluation_part(name), source=s.source, count=s.size) for name, s in config.evaluation_sets.items()
    ]
    return [draw for draw in draws if draw.count != 0]


def evaluation_part(name: str) -> Part:
    """Return the part that is an evaluation set."""
    return f":{name}"


class SourceAllocator:
    """Divides the corpus and every source among the sets. Each source is opened once, and only if it is needed.

    Args:
        config: the sets.
        encoder_decoder: whether the model is one, which cannot use examples without a prompt.
        draws: what to draw; None: all of ``draws_of``.

    Raises:
        UnlearningError: a source cannot be used, or has too few examples.
    """

    def __init__(self, config: DataConfig, *, encoder_decoder: bool, draws: Sequence[Draw] | None = None) -> None:
        self._config = config
        self._encoder_decoder = encoder_decoder
        self._draws: dict[str, list[Draw]] = {}
        """By ``source_key``."""
        for draw in draws_of(config) if draws is None else draws:
            self._draws.setdefault(source_key(draw.source), []).append(draw)
        self._examples: dict[str, Sequence[Example]] = {}
        """Those of every open source, by ``source_key``."""
        self.counts: dict[Part, int] = {}
        """Number of examples of each set, also where it is left to the source."""
        for key, from_source in self._draws.items():
            self.counts |= self._count(key, from_source)

    def allocate(self) -> dict[Part, Sequence[Example]]:
        """Return the examples of each set, in random order.

        A source that the retain set has to itself and takes completely keeps its own order.
        """
        allocated: dict[Part, Sequence[Example]] = {}
        for key, draws in self._draws.items():
            examples = self._open(key, draws)
            if len(draws) == 1 and draws[0].part == "retain" and draws[0].count is None:
                allocated["retain"] = examples
                continue
            order = self._order(key, draws)
            for draw in draws:
                count = self.counts[draw.part]
                allocated[draw.part] = _select(examples, order[:count])
                order = order[count:]
        return allocated

    def unallocated_corpus_texts(self) -> Iterator[str]:
        """Yield the texts of the corpus that no set gets, in random order."""
        key = source_key(None)
        draws = self._draws.get(key, [])
        examples = self._open(key, draws)
        for index in self._order(key, draws)[sum(self.counts[draw.part] for draw in draws) :]:
            yield examples[int(index)].completion

    def _open(self, key: str, draws: list[Draw]) -> Sequence[Example]:
        if key not in self._examples:
            source = draws[0].source if draws else None
            self._examples[key] = (
                load_corpus(self._config.corpus, encoder_decoder=self._encoder_decoder)
                if source is None
                else open_source(source, where=source_setting(draws[0]), needs_prompt=self._encoder_decoder)
            )
        return self._examples[key]

    def _order(self, key: str, draws: list[Draw]) -> Indices:
        stream = ("corpus",) if key == source_key(None) else ("source", draws[0].part)
        return generator(self._config.seed, *stream).permutation(len(self._examples[key]))

    def _count(self, key: str, draws: list[Draw]) -> dict[Part, int]:
        available = len(self._open(key, draws))
        requested = sum(draw.count or 0 for draw in draws)
        without_count = [draw for draw in draws if draw.count is None]
        if len(without_count) > 1:
            raise _several_take_all(without_count)
        if requested + len(without_count) > available:
            raise self._too_few(draws, requested + len(without_count), available)
        return {draw.part: available - requested if draw.count is None else draw.count for draw in draws}

    def _too_few(self, draws: list[Draw], requested: int, available: int) -> UnlearningError:
        source = draws[0].source
        if source is not None:
            parts = ", ".join(draw.part.removeprefix(":") for draw in draws)
            return UnlearningError(
                f"{source_setting(draws[0])}: {parts} need {requested} examples, but "
                f"'{source.path or source.dataset}' has {available} to use; ask for fewer, or give more"
            )
        corpus = self._config.corpus
        return UnlearningError(
            f"data: retain, heldout and the in-distribution forget sets and populations need {requested} examples, "
            f"but the corpus has {available}{_bounds(corpus)}; ask for fewer, or widen data.corpus"
            f"{'' if corpus.min_words is None and corpus.max_words is None else '.min_words and max_words'}"
        )


def _several_take_all(draws: list[Draw]) -> UnlearningError:
    source = draws[0].source
    assert source is not None  # what is drawn from the corpus has a size
    sizes = " and ".join(f"{_size_setting(draw)}: ..." for draw in draws[1:])
    return UnlearningError(
        f"data: {' and '.join(source_setting(draw) for draw in draws)} are all '{source.path or source.dataset}', and "
        f"each takes the whole of it; no example can be in two sets: give each a source of its own, or say how "
        f"many examples it gets ({sizes}); {_size_setting(draws[0])} may be left out, and takes what is left"
    )


def _bounds(corpus: CorpusConfig) -> str:
    if corpus.min_words is None and corpus.max_words is None:
        return ""
    return f" of {corpus.min_words or 0} to {corpus.max_words or 'any number of'} words"


def source_key(source: SourceConfig | None) -> str:
    """Return a key that two draws share if they are from the same source, however its path is spelled."""
    if source is None:
        return ""
    path = None if source.path is None else os.path.realpath(source.path)
    return source.model_copy(update={"path": path}).model_dump_json(exclude={"on_bad"})


def source_setting(draw: Draw) -> str:
    """Return the spec key of a draw's source."""
    if draw.part.startswith(":"):
        return f"data.evaluation_sets.{draw.part[1:]}.source"
    name, _, part = draw.part.rpartition(".")
    if not name:
        return f"data.{part}_source"
    return f"data.forget_sets.{name}.{'population_source' if part == 'population' else 'source'}"


def _size_setting(draw: Draw) -> str:
    """Return the spec key that sets how many examples a draw takes."""
    if draw.part.startswith(":"):
        return f"data.evaluation_sets.{draw.part[1:]}.size"
    name, _, part = draw.part.rpartition(".")
    return f"data.forget_sets.{name}.{'size' if part == 'forget' else part}" if name else f"data.{part}"


def _select(examples: Sequence[Example], indices: Indices) -> Sequence[Example]:
    if isinstance(examples, SelectableExamples):
        return examples.select(indices)
    return tuple(examples[int(index)] for index in indices)
