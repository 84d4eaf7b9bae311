"""Which examples the buckets of forget sets have: measured once, and kept as they were recorded from then on."""

from collections.abc import Mapping, Sequence
from itertools import chain, pairwise

from trainables.config import Bucket, DataConfig, Trait, buckets_by
from trainables.metrics import EvaluationSets, thirds

ROUNDING = 0.01
"""Nats per token by which recorded thirds may overlap in a trait that is measured again: on another kind of machine it
is rounded otherwise. Other models rank examples otherwise by far more."""


def bucket_members(
    sets: Mapping[str, EvaluationSets], data: DataConfig, recorded: Mapping[str, Sequence[str]]
) -> dict[Bucket, tuple[int, ...]]:
    """Return, for every bucket of these forget sets, the indices of its examples in its forget set, in their order.

    Args:
        sets: the forget sets, with what base and reference models scored of them.
        data: the buckets that each has.
        recorded: ids of the examples that buckets had before, by name. They keep them, unless the models or the
            examples are others now.
    """
    members: dict[Bucket, tuple[int, ...]] = {}
    for name, own in sets.items():
        for trait in data.forget_sets[name].buckets:
            buckets = buckets_by(name, trait)
            known = [recorded.get(bucket.name, ()) for bucket in buckets]
            members |= zip(buckets, _kept(own, trait, known) or thirds(own.trait_N(trait)), strict=True)
    return members


def _kept(sets: EvaluationSets, trait: Trait, recorded: Sequence[Sequence[str]]) -> tuple[tuple[int, ...], ...] | None:
    """Return recorded thirds as indices; None: they are not the thirds of these examples by this trait."""
    ids = sets.forget.example_ids
    if sorted(chain(*recorded)) != sorted(ids) or not all(recorded):
        return None
    trait_N = sets.trait_N(trait)
    found = tuple(tuple(i for i, name in enumerate(ids) if name in own) for own in map(frozenset, recorded))
    overlaps = any(trait_N[list(low)].max() > trait_N[list(high)].min() + ROUNDING for low, high in pairwise(found))
    return None if overlaps else found
