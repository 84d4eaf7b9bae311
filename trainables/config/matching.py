"""Configuration of how forget sets are made alike before unlearning."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from trainables.config.base import Config, Name, PositiveInt

MATCHED_WITHIN = 0.1
"""Share of the smallest number by which the largest may exceed it where sets count as alike."""


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ValueError(f"each forget set once; found {', '.join(sorted(repeated))} several times")
    return names


class MatchConfig(Config):
    """How forget sets are made alike before unlearning: by how often their examples are seen in base training."""

    by: Literal["gen_ex", "gen_ex_per_token"] = "gen_ex"
    """What is made equal: the base model's mean of this column over the set, mean over replicates. Relative exposure
    would not do: at its ceiling, sets are equal whatever was memorized."""
    sets: Annotated[tuple[Name, ...], Field(min_length=2), AfterValidator(_each_once)] | None = None
    """The forget sets that are matched; others keep the repetitions that they have. None: all."""
    to: Name | None = None
    """The one of them whose repetitions stay as they are. None: the set with the largest mean at the start."""
    tolerance: Annotated[float, Field(gt=0, lt=1)] = MATCHED_WITHIN
    """Share of the smallest mean by which the largest may exceed it."""
    rounds: PositiveInt = 6
    """How many base models are trained in each replicate until all sets match, at most. Those tried are kept in the
    storage as all models are; what comes nearest is taken."""
    settled: bool = False
    """Whether ``repetitions`` are those that were found. The spec that is stored with a sweep says so."""
    started_from: dict[Name, PositiveInt] = Field(default_factory=dict)
    """The repetitions that the search began with, by forget set. The spec that is stored with a sweep has them."""

    def require_possible(self, epochs: int, *, references: int) -> None:
        """Check that there is something to choose, and something to choose it by.

        Raises:
            ValueError: the base model is not trained, or nothing tells what it has memorized.
        """
        if not epochs:
            raise ValueError(
                "data.match: it chooses repetitions in base training, and preparation.epochs: 0 trains no base model; "
                "leave 'match' out"
            )
        if not references:
            raise ValueError(
                f"data.match: {self.by} compares with reference models, and there are none: preparation.references is "
                f"0; train some, or leave 'match' out"
            )
