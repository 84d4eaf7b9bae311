"""The section ``search`` of a spec: who proposes, what is minimised within which bounds, and what it may cost."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from search_spaces import parse_space
from trainables.config import Config, PositiveInt

Sampler = Literal["grid", "brute_force", "random", "qmc", "tpe", "nsga2", "nsga3", "gp", "cmaes"]
LISTING = frozenset({"grid", "brute_force"})
"""Samplers that list the points of the space, and end with the list."""
BLIND = LISTING | {"random", "qmc"}
"""Samplers that do not look at results."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_UNITS_S = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


def duration_s(text: str) -> float:
    """Return the seconds of a duration such as ``90m``, ``2h``, ``1h30m`` or ``1.5d``.

    Raises:
        ValueError: the text is no duration, or not a positive one.
    """
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms])", text)
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or seconds <= 0:
        raise ValueError(f"expected a duration with units (d, h, m, s), such as 90m, 2h or 1h30m; found '{text}'")
    return seconds


def _is_duration(text: str) -> str:
    duration_s(text)
    return text


Duration = Annotated[str, AfterValidator(_is_duration)]


class ConstraintsConfig(Config):
    """Bounds of a search: an evaluation beyond one of them is infeasible.

    Bounds only steer proposals: trials run on and every row is kept. Samplers are told by how much a bound is missed,
    in its own unit, so that they can find their way back. ``tpe``, ``nsga2``, ``nsga3``, ``gp`` and ``cmaes`` learn
    from it; ``grid``, ``brute_force``, ``random`` and ``qmc`` learn from nothing. A collapsed or diverged evaluation is
    always infeasible.
    """

    performance_at_most: float | None = None
    """Held-out NLL, nats per token."""
    performance_increase_at_most: Annotated[float, Field(ge=0)] | None = None
    """Held-out NLL above the base model's, nats per token."""
    exposure_at_most: Annotated[float, Field(ge=0)] | None = None
    """``unlearning_quality``, bits."""


class BudgetConfig(Config):
    """What the trials of the whole sweep may cost, over all its sessions. Strata have equal shares of steps and
    GPU-hours.

    Once it is spent nothing new is proposed, and the run ends normally; after it is raised, ``resume`` goes on. Trials
    that were proposed go to their end, even that of a step axis that has grown; only ``max_wall`` stops them, with
    their state saved. Base and reference models count for ``max_wall`` alone.
    """

    max_steps_total: PositiveInt | None = None
    """Ascent steps. A trial is proposed only if its whole axis still fits, so proposals never exceed the budget; steps
    saved by an early end are spent on other trials. Steps after a trial's last evaluation are not counted."""
    max_gpu_hours: Annotated[float, Field(gt=0)] | None = None
    """Hours of trials times ``resources.gpus_per_trial``; under ``concurrent_trials: auto``, times the share of a GPU
    that was measured last. Running trials are expected to take the mean of those that ended; the last ones may
    exceed the budget."""
    max_wall: Duration | None = None
    """How long the sweep may be driven, preparation included: a duration with units (``90m``, ``2h``, ``1h30m``)."""

    @property
    def max_wall_s(self) -> float | None:
        """``max_wall`` in seconds."""
        return None if self.max_wall is None else duration_s(self.max_wall)

    def __bool__(self) -> bool:
        return any(limit is not None for limit in (self.max_steps_total, self.max_gpu_hours, self.max_wall))


class SearchConfig(Config):
    """What varies within a stratum, and who proposes it.

    ``grid``, ``brute_force``, ``random`` and ``qmc`` do not look at results: a longer search begins as a shorter one,
    and with many trials at once the proposals are those of one at a time. The others learn from what the study was told
    so far, so with many trials at once they may propose differently.
    """

    sampler: Sampler = "tpe"
    """Who proposes. All but ``cmaes`` handle choices that have settings of their own.

    - ``grid``: every combination of listed values; few dimensions, tables for a paper.
    - ``brute_force``: the same points in a seeded random order, so that ``trials`` or a budget may cut it short
      anywhere and what was run covers the space evenly. Where each step value is a trial of its own, shorter ones
      come first.
    - ``random``: independent draws; the baseline (Bergstra & Bengio 2012).
    - ``qmc``: a scrambled Sobol sequence; covers every range evenly with few trials (Owen 1998).
    - ``tpe``: models good settings and others apart; cheap, many dimensions and choices; groups of settings that exist
      together are modelled together (Bergstra et al. 2011; Watanabe 2023, arXiv 2304.11127).
    - ``nsga2``: evolves a population towards the whole frontier; hundreds of observations (Deb et al. 2002).
    - ``nsga3``: the same, kept apart by reference directions instead of crowding, so that the ends and gaps of a long
      frontier are filled (Deb & Jain 2014).
    - ``gp``: a Gaussian process and expected hypervolume improvement; few, expensive trials of few dimensions (Daulton
      et al. 2020, arXiv 2006.05078). Settings of branches that were not taken stand at their middle. It models at
      most 100 observations, the frontier among them, and takes seconds to propose.
    - ``cmaes``: adapts a normal distribution to one objective (``minimize``); ranges that depend on each other; tens
      of trials and more (Hansen & Ostermeier 2001; Hansen 2016, arXiv 1604.00772). It learns one value from a trial,
      the best feasible of its trajectory, in populations of 4 + 3 ln(dimensions). Choices, also lists, are refused: it
      adapts along an order, which they do not have.
    """
    across: Literal["replicates", "seeds", "each"] = "replicates"
    """What one study searches. ``replicates``: a forget set; every proposal runs on every seed of every replicate, and
    the study is told their mean at each step that all of them reach. ``seeds``: a forget set in one replicate; every
    proposal runs on every seed. ``each``: a stratum; every seed draws points of its own, and two seeds may have no
    setting in common. Samplers that do not look at results propose the same in every replicate under each of these.
    Sweeps older than this key go on with ``each``."""
    minimize: Literal["both", "unlearning_quality", "performance"] = "both"
    """What proposals minimise: both objectives (the whole frontier), or one of them within ``constraints`` on the
    other. ``cmaes`` takes one, ``nsga3`` takes both, the others take either."""
    constraints: ConstraintsConfig = ConstraintsConfig()
    """Bounds beyond which the samplers take an evaluation for infeasible."""
    trials: PositiveInt | None = None
    """Trials of each stratum. Without it ``grid`` and ``brute_force`` run every point; the others need a ``budget``,
    and run until it is spent or nothing new is found."""
    budget: BudgetConfig = BudgetConfig()
    """What the trials of the whole sweep may cost, beside or instead of ``trials``."""
    startup_trials: PositiveInt = 4
    """Random trials before TPE or GP starts to model. Few are enough, as each step of a trial is an observation."""
    population_size: Annotated[int, Field(ge=2)] = 20
    """Observations in a generation of NSGA-II or NSGA-III."""
    extent: Literal["axis", "sampled"] = "axis"
    """``axis``: every trial walks the whole step axis; ``sampled``: the sampler proposes how far to go."""
    seed: int = 0
    """Seed of the sampler."""
    space: dict[str, Any]
    """Settings of a trial: fixed values, lists, ranges, and choices with settings of their own."""

    @field_validator("space")
    @classmethod
    def _parses(cls, space: dict[str, Any]) -> dict[str, Any]:
        numeric: dict[str, Any] = _with_numbers(space)
        parse_space(numeric, "search.space")
        return numeric


def _with_numbers(value: Any) -> Any:
    """Return the value with texts that are numbers replaced by these, at any depth: YAML reads 1e-5 as text."""
    if isinstance(value, dict):
        return {_with_numbers(key): _with_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_numbers(inner) for inner in value]
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value) if value.lstrip("+-").isdigit() else float(value)
    return value
