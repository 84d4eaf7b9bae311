"""Buckets of a forget set: its thirds by what its examples were to base and reference models, unlearned apart."""

from dataclasses import dataclass
from typing import Literal, get_args

Trait = Literal["memorization", "difficulty"]
"""What the examples of a forget set are ranked by: see ``trainables.metrics.difficulty``."""
TRAITS: tuple[Trait, ...] = get_args(Trait)
Third = Literal["low", "middle", "high"]
THIRDS: tuple[Third, ...] = get_args(Third)
"""In the order of their trait."""


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A third of a forget set, unlearned as a set of its own. Each replicate measures which examples it has."""

    parent: str
    """Name of the forget set."""
    trait: Trait
    third: Third

    @property
    def name(self) -> str:
        """Its own name as a forget set."""
        return f"{self.parent}-{self.trait}-{self.third}"

    @property
    def label(self) -> str:
        """Which third it is, for readers: equal for those of several forget sets."""
        return f"{self.trait} {self.third}"


def buckets_by(parent: str, trait: Trait) -> tuple[Bucket, ...]:
    """Return the thirds of a forget set by a trait, the lowest first."""
    return tuple(Bucket(parent=parent, trait=trait, third=third) for third in THIRDS)
