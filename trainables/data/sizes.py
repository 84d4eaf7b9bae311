"""How many examples every set has. Sources are opened only where a size is left to them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from trainables.config import THIRDS, Bucket, DataConfig, ForgetSetConfig
from trainables.data.allocation import Draw, SourceAllocator, draws_of, evaluation_part, source_key, source_setting
from trainables.errors import UnlearningError


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
    evaluation: Mapping[str, int] = field(default_factory=dict)
    """By name of an evaluation set."""
    buckets: Mapping[Bucket, SetSizes] = field(default_factory=dict)

    @property
    def unlearned(self) -> Mapping[str, SetSizes]:
        """Sizes of all sets that trials unlearn, buckets included."""
        return {**self.forget_sets, **{bucket.name: own for bucket, own in self.buckets.items()}}

    def with_buckets(self, config: DataConfig) -> "Sizes":
        """Return the sizes with those of the buckets that the forget sets have."""
        found = {}
        for bucket in config.unlearned.values():
            if bucket is not None:
                whole = self.forget_sets[bucket.parent]
                thirds = np.array_split(np.arange(whole.forget), len(THIRDS))
                found[bucket] = replace(whole, forget=len(thirds[THIRDS.index(bucket.third)]))
        return replace(self, buckets=found)


def sizes_of(config: DataConfig, *, encoder_decoder: Callable[[], bool] = lambda: False) -> Sizes:
    """Return the number of examples of every set. Only sources that a size is left to are opened.

    Args:
        config: the sets.
        encoder_decoder: returns whether the model is one; called only if such a source leaves out unusable rows.

    Raises:
        UnlearningError: a source cannot be used, or has too few examples.
    """
    counts = {draw.part: draw.count for draw in draws_of(config) if draw.count is not None}
    if draws := _draws_left_to_sources(config):
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
        evaluation={name: counts[evaluation_part(name)] for name in config.evaluation_sets},
    ).with_buckets(config)


def hub_datasets_to_count(config: DataConfig) -> list[str]:
    """Return the spec keys of the hub datasets that ``sizes_of`` would have to fetch."""
    draws = _draws_left_to_sources(config)
    return [source_setting(draw) for draw in draws if draw.source is not None and draw.source.dataset is not None]


def _draws_left_to_sources(config: DataConfig) -> list[Draw]:
    """Return the draws from those sources of which at least one set takes all that is left."""
    draws = draws_of(config)
    left = {source_key(draw.source) for draw in draws if draw.count is None}
    return [draw for draw in draws if source_key(draw.source) in left]


def training_examples(config: DataConfig, sizes: Sizes) -> int:
    """Return the number of examples that the base model sees in an epoch, repetitions included.

    Raises:
        UnlearningError: see ``repetitions_of``.
    """
    return sizes.retain + sum(
        own.distractors + sum(repetitions_of(config.forget_sets[name], own.forget))
        for name, own in sizes.forget_sets.items()
    )


def repetitions_of(s: ForgetSetConfig, size: int) -> tuple[int, ...]:
    """Return how often each of ``size`` forget examples is seen in an epoch.

    Raises:
        UnlearningError: there are more groups of repetitions than examples.
    """
    if len(s.repetitions) > size:
        raise UnlearningError(
            f"repetitions: {len(s.repetitions)} groups, and {size} examples to put into them; leave some out"
        )
    parts = np.array_split(np.arange(size), len(s.repetitions))
    return tuple(times for times, part in zip(s.repetitions, parts, strict=True) for _ in part)


def require_retained(count: int, available: int) -> None:
    """Require that there are at least as many retain examples as are to be evaluated.

    Raises:
        UnlearningError: there are fewer.
    """
    if count > available:
        raise UnlearningError(
            f"data.retain_evaluation: {count} retain examples are to be measured, and there are {available}"
        )
