"""Whether there is anything to unlearn: how much the base model has memorized of each forget set.

A sweep of a model that knows nothing measures noise. Each set is therefore judged before its first trial, against
models that never saw it. Any of these is enough to go on:

- RelEx above its expectation for never-trained examples by more than two standard errors: see ``never_trained``.
- GenEx above the floor, and larger than a trace of ``TRACE_BITS_PER_TOKEN`` a token. The floor is the largest mean
  |GenEx| of a reference model, measured against the *other* references. A reference's signed mean would not do: with
  two references, the two means are near 0 and differ in sign only.
- GenEx above the floor by any amount and RelEx above its expectation by any amount. GenEx alone rises above the floor
  as soon as a model has seen the *kind* of text; RelEx does not.
- More examples extracted than from any reference.

That none of them holds is certain only with many examples. With fewer than ``MANY`` in the forget set or its
population, or with a single reference, which gives no floor, the outcome is unclear, and the sweep goes on.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import fmean, pstdev
from typing import Any

from orchestrator.errors import NothingToUnlearnError
from orchestrator.ledger import Baselines
from orchestrator.safe_text import command
from orchestrator.spec import SweepSpec

TRACE_BITS_PER_TOKEN = 0.25
"""Mean GenEx a token that counts as a trace only."""
MANY = 32
"""Examples of a forget set, and of its population, from which on a sweep may be stopped. The standard error of RelEx is
0.3 bits with 32 examples each, and 0.5 bits with 8 and 16."""


def never_trained(size: int, population: int) -> tuple[float, float]:
    """Return the expected mean RelEx of never-trained examples and its standard error, in bits.

    Every rank of such an example among the population and itself is equally likely. Both samples add to the error,
    since all examples are ranked in one population.

    Args:
        size: number of examples.
        population: number of never-trained examples that they are ranked in.
    """
    bits = [math.log2(population / rank) for rank in range(1, population + 2)]
    return fmean(bits), pstdev(bits) * math.sqrt(1 / size + 1 / population)


class Knowledge(Enum):
    """How much a base model knows of a forget set."""

    SOME = "memorized"
    UNCLEAR = "not clearly above models that never saw it"
    NONE = "not above models that never saw it"


@dataclass(frozen=True, kw_only=True)
class Memorized:
    """The measurements of one forget set before any unlearning. Exposures are means over the set, in bits."""

    forget_set: str
    size: int
    """Number of forget examples."""
    population: int
    """Number of never-trained examples that RelEx ranks against."""
    gen_ex: float | None
    """None: there is no reference model."""
    gen_ex_per_token: float | None
    floor: float | None
    """The largest mean |GenEx| of a reference against the others; None: there are fewer than two references."""
    rel_ex: float
    extraction_rate: float
    floor_extraction_rate: float
    """The largest extraction rate of a reference model; 0 without any."""
    replicate: int = 0

    @property
    def knowledge(self) -> Knowledge:
        """The judgement by the rules of this module."""
        expected, error = never_trained(self.size, self.population)
        if self.extraction_rate > self.floor_extraction_rate or self.rel_ex > expected + 2 * error:
            return Knowledge.SOME
        is_above_floor = self.gen_ex is not None and (self.floor is None or self.gen_ex > self.floor)
        is_trace = self.gen_ex_per_token is None or self.gen_ex_per_token <= TRACE_BITS_PER_TOKEN
        if is_above_floor and not is_trace:
            return Knowledge.SOME
        if is_above_floor and self.floor is not None and self.rel_ex > expected:
            return Knowledge.SOME
        has_floor = self.gen_ex is None or self.floor is not None  # one reference says nothing of their spread
        has_many = min(self.size, self.population) >= MANY
        is_quiet = self.rel_ex <= expected or (self.gen_ex is not None and not is_above_floor)
        return Knowledge.NONE if has_floor and has_many and is_trace and is_quiet else Knowledge.UNCLEAR

    def __str__(self) -> str:
        shown = []
        if self.gen_ex is not None:
            spread = "" if self.floor is None else f", |GenEx| among references up to {self.floor:.2f}"
            shown.append(f"GenEx {self.gen_ex:+.2f} bits ({self.gen_ex_per_token:+.2f} a token{spread})")
        expected, error = never_trained(self.size, self.population)
        shown.append(
            f"RelEx {self.rel_ex:.2f} (never trained {expected:.2f}, give or take {error:.2f}; most "
            f"{math.log2(self.population):.2f})"
        )
        shown.append(f"extracted {self.extraction_rate:.0%}")
        verdict = "" if self.knowledge is Knowledge.SOME else f": {self.knowledge.value}"
        where = f" in replicate {self.replicate}" if self.replicate else ""
        return f"{self.forget_set}{where}: {', '.join(shown)}{verdict}"


def memorized_by_base(
    baselines: Sequence[Mapping[str, Any]], sizes: Mapping[str, tuple[int, int]], *, replicate: int = 0
) -> list[Memorized]:
    """Return what the base model of a replicate has memorized, by forget set.

    Args:
        baselines: rows of the baselines table.
        sizes: numbers of forget examples and of population examples, by forget set.
        replicate: number of the replicate.
    """
    known, found = Baselines(baselines).in_replicate(replicate), []
    for name, (size, population) in sizes.items():
        base, references = known.base(name), known.references(name)
        assert base is not None
        floors = [row["gen_ex_abs"] for row in references if row["gen_ex_abs"] is not None]
        found.append(
            Memorized(
                forget_set=name,
                replicate=replicate,
                size=size,
                population=population,
                gen_ex=base["gen_ex"],
                gen_ex_per_token=base["gen_ex_per_token"],
                floor=max(floors, default=None),
                rel_ex=base["rel_ex"],
                extraction_rate=base["extraction_rate"],
                floor_extraction_rate=max((row["extraction_rate"] for row in references), default=0.0),
            )
        )
    return found


def require_something_to_unlearn(found: Sequence[Memorized], spec: SweepSpec, uri: str) -> None:
    """Check that there is something to unlearn.

    Raises:
        NothingToUnlearnError: the base model knows no forget set better than models that never saw it.
    """
    if all(one.knowledge is Knowledge.NONE for one in found):
        listed = "\n".join(f"  {one}" for one in found)
        raise NothingToUnlearnError(
            f"there is nothing to unlearn: the base model knows no forget set better than models that never saw it\n"
            f"{listed}\n{advice(spec)}\n"
            f"the trained models are kept; to run the sweep anyway: {command('resume', uri, '--force')}"
        )


def advice(spec: SweepSpec) -> str:
    """Return what a user can do to raise memorization."""
    recipe = spec.preparation
    if recipe.epochs == 0:
        return (
            f"preparation.epochs is 0: {spec.model.pretrained} is the base model as it is, and has not memorized these "
            f"texts; check that they are what it was trained on, to the letter, or train them in: preparation.epochs "
            f"of 1 or more"
        )
    repeated = ", ".join(f"{name} {own.repetitions}" for name, own in spec.data.forget_sets.items())
    return (
        f"what raises memorization: repetitions of the forget examples (data.forget_sets.NAME.repetitions, now "
        f"{repeated}), more epochs (preparation.epochs, now {recipe.epochs}), a higher preparation.learning_rate (now "
        f"{recipe.learning_rate:g}), or a larger model"
    )
