"""The Pareto frontier of one forget set: what performance each level of unlearning costs, and what is derived from it.

Replicates are pooled: a point is of one of them, and what is lost at it is measured from the base model of that one.

How it is computed lives in ``computing``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.frontier.bootstrap import Interval
from orchestrator.frontier.crossings import Crossing
from orchestrator.frontier.objectives import Objective
from orchestrator.frontier.setting_crossings import SettingCrossing
from orchestrator.frontier.spreads import Row, Spread
from orchestrator.frontier.targets import Target

OBJECTIVES = ("unlearning_quality", "performance")
CHOSEN_NOTE = (
    "points and prices are chosen on the same evaluations that they are shown on, so the best are too good: by 0.4 to "
    "1.2 bits of |GenEx| where it was measured; other data, seeds or models would show less"
)
"""A note to show once beside everything that is called best."""


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """The frontier of one forget set."""

    forget_set: str
    distribution: str
    bucket: str
    """Which third of a forget set it is, by what; empty: it is a whole set."""
    matched_within: float
    """Share by which the exposures of sets may differ that count as equally exposed."""
    objectives: tuple[str, str]
    levels: tuple[float | None, float | None]
    """The level whose distance is minimised, for each objective; None: the number itself is minimised, or maximised."""
    trials: int
    evaluations: int
    """Number of candidates: finite, completed evaluations."""
    points: Sequence[Row]
    """Non-dominated evaluations, the least exposed first; of equal ones, the first by trial and step."""
    reference_point: tuple[float, float] | None
    """The corner that hypervolume is measured from, as objectives are shown; None: there is neither base model nor
    candidate."""
    reference_origin: tuple[str, str]
    """Origin of each coordinate of the reference point."""
    hypervolume: float | None
    """Area between the frontier and the reference point, in the product of the objectives' units."""
    hypervolume_by_seed: Interval | None
    """Interval of the mean over seeds of the hypervolume of one seed's frontier; over replicates, if there are several.
    The frontier of all seeds dominates each of them, so resampling seeds could only lower ``hypervolume``, and its
    interval would not contain it. None: one seed, or seeds that agree."""
    seeds: int
    """Number of seeds that have a candidate."""
    replicates: int
    """Number of replicates that have a candidate."""
    seeds_agree: bool
    """Whether there are several seeds whose evaluations are equal but for rounding: they are not replicates."""
    knee: Row | None
    """See ``pareto.knee``."""
    targets: Sequence[Target]
    floor: Mapping[str, Spread]
    """Spread of the reference models, each measured against the others, by measure of exposure."""
    exposure_floor: float | None
    """Mean of the first objective over the reference models: no model is expected below it. None: not known."""
    base: Row | None
    """The base model, as the mean of all replicates."""
    bases: Mapping[int, Row]
    """The base model of each replicate."""
    references: Sequence[Row]
    """The reference models of all replicates."""
    copying: Row | None
    """For encoder-decoder models: BLEU and chrF of copying the sources."""
    crossings: Mapping[str, Sequence[Crossing]]
    """The trials that reach ``UNEXPOSED``, cheapest first, by measure of exposure."""
    by_setting: Mapping[str, Sequence[SettingCrossing]]
    """Every setting over its seeds and replicates, the best first, by measure of exposure: see
    ``crossings_by_setting``."""
    steps_to_unlearn: Mapping[str, Mapping[str, float]]
    """Median steps until the exposure is gone, over the trials of a method's best setting, by measure of exposure
    and method: see ``steps_by_method``."""
    steps_intervals: Mapping[str, Mapping[str, Interval | None]]
    """Bootstrap intervals of ``steps_to_unlearn``, by measure and method. None: one seed only, or all seeds get there
    at the same step."""
    measures: Sequence[str]
    """The measures of exposure that were measured. Without reference models, ``gen_ex`` is missing."""
    priced: Row | None
    """The evaluated step nearest to the price: see ``computing.priced_row``. None: no trial ends the exposure."""

    @property
    def measure(self) -> str:
        """The measure of the price: ``gen_ex``, or ``rel_ex`` if there are no reference models."""
        return "rel_ex" if "gen_ex" not in self.measures else "gen_ex"

    def price(self, measure: str) -> SettingCrossing | None:
        """Return the setting that ends an exposure with the least performance lost; None: no trial ends it."""
        return next((setting for setting in self.by_setting[measure] if setting.reached), None)

    def minimised(self, row: Row) -> tuple[float | None, float | None]:
        """Return both objectives of a row; None: not measured."""
        first, second = map(Objective, self.objectives, self.levels)
        return first.of_row(row), second.of_row(row)

    def shown(self, row: Row) -> tuple[float | None, float | None]:
        """Return the numbers to show for both objectives of a row: distances of signed measures; None: not measured."""
        first, second = (
            None if value is None else objective.shown(value)
            for objective, value in zip(map(Objective, self.objectives, self.levels), self.minimised(row), strict=True)
        )
        return first, second

    def as_json(self) -> dict[str, Any]:
        """Return plain data for ``--json``."""
        return {**asdict(self), "chosen": CHOSEN_NOTE}
