"""How examples are dealt to sets: every corpus and source is a deck, whose cards go to those who draw from it.

Sets that name the same source share it out among themselves, so that they have no example in common.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainables.config import CorpusConfig, DataConfig, SourceConfig
from trainables.data.corpora import load_corpus
from trainables.data.examples import Example, SelectableExamples
from trainables.data.source_opening import open_source
from trainables.errors import UnlearningError
from trainables.seeding import generator

Part = str
"""``retain``, ``heldout``, or ``NAME.forget``, ``NAME.population``, ``NAME.distractors`` of a forget set."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What one set takes from a deck."""

    part: Part
    source: SourceConfig | None
    """None: the corpus."""
    count: int | None
    """None: all that the others leave."""


def draws_of(config: DataConfig) -> list[Draw]:
    """List what is drawn from the corpus and from sources, in the order it is dealt; canaries are made, not drawn."""
    found = [
        Draw(part="heldout", source=config.heldout_source, count=config.heldout),
        Draw(part="retain", source=config.retain_source, count=config.retain),
    ]
    for name, s in config.forget_sets.items():
        if s.canary is None:
            found += [
                Draw(part=f"{name}.forget", source=s.source, count=s.size),
                Draw(part=f"{name}.population", source=s.population_source or s.source, count=s.population),
                Draw(part=f"{name}.distractors", source=s.source, count=s.distractors),
            ]
    return [draw for draw in found if draw.count != 0]


class SourceAllocator:
    """The corpus and every source of a configuration, dealt to its sets. Each is opened once, and only if needed.

    Args:
        config: the sets.
        encoder_decoder: whether the model is one, which can use no example without a prompt.
        draws: what is drawn; None: all of ``draws_of``.

    Raises:
        UnlearningError: a source cannot be used, or has too few examples.
    """

    def __init__(self, config: DataConfig, *, encoder_decoder: bool, draws: Sequence[Draw] | None = None) -> None:
        self._config = config
        self._encoder_decoder = encoder_decoder
        self._draws: dict[str, list[Draw]] = {}
        for draw in draws_of(config) if draws is None else draws:
            self._draws.setdefault(_key(draw.source), []).append(draw)
        self._cards: dict[str, Sequence[Example]] = {}
        self.counts: dict[Part, int] = {}
        """How many examples each set gets, those left to the source included."""
        for key, drawn in self._draws.items():
            self.counts |= self._counts(key, drawn)

    def allocate(self) -> dict[Part, Sequence[Example]]:
        """Give each set its examples, in an order drawn at random. A source that one set takes whole keeps its own."""
        dealt: dict[Part, Sequence[Example]] = {}
        for key, draws in self._draws.items():
            cards = self._open(key, draws)
            if len(draws) == 1 and draws[0].part == "retain" and draws[0].count is None:
                dealt["retain"] = cards
                continue
            order = self._order(key, draws)
            for draw in draws:
                count = self.counts[draw.part]
                dealt[draw.part] = _pick(cards, order[:count])
                order = order[count:]
        return dealt

    def left_of_corpus(self) -> Iterator[str]:
        """Give the texts of the corpus that are dealt to no set, in an order drawn at random."""
        key = _key(None)
        draws = self._draws.get(key, [])
        cards = self._open(key, draws)
        for index in self._order(key, draws)[sum(self.counts[draw.part] for draw in draws) :]:
            yield cards[int(index)].completion

    def _open(self, key: str, draws: list[Draw]) -> Sequence[Example]:
        if key not in self._cards:
            source = draws[0].source if draws else None
            self._cards[key] = (
                load_corpus(self._config.corpus, encoder_decoder=self._encoder_decoder)
                if source is None
                else open_source(source, where=_where(draws[0]), needs_prompt=self._encoder_decoder)
            )
        return self._cards[key]

    def _order(self, key: str, draws: list[Draw]) -> Any:
        stream = ("corpus",) if key == _key(None) else ("source", draws[0].part)
        return generator(self._config.seed, *stream).permutation(len(self._cards[key]))

    def _counts(self, key: str, draws: list[Draw]) -> dict[Part, int]:
        there = len(self._open(key, draws))
        wanted = sum(draw.count or 0 for draw in draws)
        rest = [draw for draw in draws if draw.count is None]
        if len(rest) > 1:
            source = rest[0].source
            sizes = " and ".join(f"{_size_key(draw)}: ..." for draw in rest[1:])
            assert source is not None  # what is drawn from the corpus has a size
            raise UnlearningError(
                f"data: {' and '.join(_where(draw) for draw in rest)} are all '{source.path or source.dataset}', and "
                f"each takes the whole of it; no example can be in two sets: give each a source of its own, or say how "
                f"many examples it gets ({sizes}); {_size_key(rest[0])} may be left out, and takes what is left"
            )
        if wanted + len(rest) > there:
            raise self._too_few(draws, wanted + len(rest), there)
        return {draw.part: there - wanted if draw.count is None else draw.count for draw in draws}

    def _too_few(self, draws: list[Draw], wanted: int, there: int) -> UnlearningError:
        source = draws[0].source
        if source is not None:
            return UnlearningError(
                f"{_where(draws[0])}: {', '.join(draw.part for draw in draws)} need {wanted} examples, but "
                f"'{source.path or source.dataset}' has {there} to use; ask for fewer, or give more"
            )
        corpus = self._config.corpus
        return UnlearningError(
            f"data: retain, heldout and the in-distribution forget sets and populations need {wanted} examples, "
            f"but the corpus has {there}{_bounds(corpus)}; ask for fewer, or widen data.corpus"
            f"{'' if corpus.min_words is None and corpus.max_words is None else '.min_words and max_words'}"
        )


def _bounds(corpus: CorpusConfig) -> str:
    if corpus.min_words is None and corpus.max_words is None:
        return ""
    return f" of {corpus.min_words or 0} to {corpus.max_words or 'any number of'} words"


@dataclass(frozen=True, kw_only=True)
class SetSizes:
    """Numbers of examples of a forget set."""

    forget: int
    population: int
    distractors: int


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Numbers of examples of every set, those left to sources included."""

    retain: int
    heldout: int
    forget_sets: Mapping[str, SetSizes]


def sizes_of(config: DataConfig, *, encoder_decoder: Callable[[], bool] = lambda: False) -> Sizes:
    """Count every set; where that is left to sources, by looking into these, and into no others.

    Args:
        config: the sets.
        encoder_decoder: tells whether the model is one; asked only if such a source leaves out what cannot be used.

    Raises:
        UnlearningError: a source cannot be used, or has too few examples.
    """
    counts = {draw.part: draw.count for draw in draws_of(config) if draw.count is not None}
    if draws := _counted_by_their_sources(config):
        leaves_out = any(draw.source is not None and draw.source.on_bad == "skip" for draw in draws)
        counts |= SourceAllocator(config, encoder_decoder=leaves_out and encoder_decoder(), draws=draws).counts
    return Sizes(
        retain=counts["retain"],
        heldout=counts["heldout"],
        forget_sets={
            name: SetSizes(
                forget=counts.get(f"{name}.forget", s.size or 0),
                population=counts.get(f"{name}.population", s.population or 0),
                distractors=s.distractors,
            )
            for name, s in config.forget_sets.items()
        },
    )


def hub_datasets_to_count(config: DataConfig) -> list[str]:
    """List the spec keys of what ``sizes_of`` would have to fetch from the Hugging Face hub."""
    draws = _counted_by_their_sources(config)
    return [_where(draw) for draw in draws if draw.source is not None and draw.source.dataset is not None]


def _counted_by_their_sources(config: DataConfig) -> list[Draw]:
    """List what is drawn from sources that one set at least takes the rest of."""
    draws = draws_of(config)
    left = {_key(draw.source) for draw in draws if draw.count is None}
    return [draw for draw in draws if _key(draw.source) in left]


def _key(source: SourceConfig | None) -> str:
    """Tell sources apart, however a path is spelled."""
    if source is None:
        return ""
    place = None if source.path is None else os.path.realpath(source.path)
    return source.model_copy(update={"path": place}).model_dump_json(exclude={"on_bad"})


def _where(draw: Draw) -> str:
    """Name a draw's source as the spec does."""
    name, _, part = draw.part.rpartition(".")
    if not name:
        return f"data.{part}_source"
    return f"data.forget_sets.{name}.{'population_source' if part == 'population' else 'source'}"


def _size_key(draw: Draw) -> str:
    """Name the setting that says how many examples a draw takes."""
    name, _, part = draw.part.rpartition(".")
    return f"data.forget_sets.{name}.{'size' if part == 'forget' else part}" if name else f"data.{part}"


def _pick(cards: Sequence[Example], indices: Any) -> Sequence[Example]:
    if isinstance(cards, SelectableExamples):
        return cards.select(np.asarray(indices, dtype=np.int64))
    return tuple(cards[int(index)] for index in indices)
