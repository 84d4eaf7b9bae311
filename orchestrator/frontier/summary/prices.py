"""Prices: what ending the exposure of a forget set takes, as rows of a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.frontier.crossings import MEASURED_BY, UNEXPOSED
from orchestrator.frontier.frontier import Frontier
from orchestrator.frontier.setting_crossings import SettingCrossing
from orchestrator.frontier.setting_names import SettingNames
from orchestrator.frontier.spreads import Row
from orchestrator.frontier.trial_rows import increase_over_base, settings_of
from orchestrator.ledger import OWN_KIND

PRICE_TITLES = {
    "gen_ex": "the price of mean GenEx 0, as likely as under the reference models",
    "rel_ex": (
        f"the price of mean RelEx {UNEXPOSED['rel_ex']:.2f}, ranked as never-trained examples are in a large population"
    ),
}
"""Title of a table of prices, by the measure whose exposure is ended."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What it takes to end one measure of a forget set's exposure."""

    forget_set: str
    reached: int
    """Number of trials that end it."""
    trials: int
    exposed: bool
    """Whether the base model was exposed by this measure; assumed if it was not measured."""
    best: SettingCrossing | None
    """The setting that ends it with the least held-out performance lost, over its seeds and replicates; None: no trial
    ends it."""

    @property
    def reached_by(self) -> str:
        """How many trials end it, as text; or that there was nothing to end."""
        return f"{self.reached} of {self.trials}" if self.exposed else "was not exposed"

    @property
    def seeds(self) -> str:
        """How many trials of the best setting end it, as text: the price is their mean."""
        return "-" if self.best is None else f"{self.best.reached} of {self.best.trials}"


def priced_measures(frontiers: Sequence[Frontier]) -> list[str]:
    """Return the measures of exposure that have prices: those that were measured, of any forget set."""
    return [name for name in PRICE_TITLES if any(name in frontier.measures for frontier in frontiers)]


def prices_of(frontiers: Sequence[Frontier], measure: str) -> list[Price]:
    """Return the price of ending ``measure`` (``gen_ex`` or ``rel_ex``) for each forget set."""
    return [
        Price(
            forget_set=frontier.forget_set,
            reached=len(frontier.crossings[measure]),
            trials=frontier.trials,
            exposed=is_exposed(frontier, measure),
            best=frontier.price(measure),
        )
        for frontier in frontiers
    ]


def is_exposed(frontier: Frontier, measure: str) -> bool:
    """Return whether the base model was exposed by a measure; assumed if it was not measured."""
    start = None if frontier.base is None else frontier.base[measure]
    return start is None or start > UNEXPOSED[measure]


def setting_names(frontiers: Sequence[Frontier]) -> SettingNames:
    """Return the short names of all settings of these frontiers."""
    return SettingNames(
        name
        for frontier in frontiers
        for name in (
            *(own.settings for own in frontier.by_setting[frontier.measure]),
            *(settings_of(row) for row in frontier.points),
        )
    )


def lost_against_base(row: Row, frontier: Frontier, column: str = "performance") -> float | None:
    """Return the increase of a price column over the base model, nats per token; None: one was not measured."""
    measured = MEASURED_BY.get(column, column)
    return increase_over_base(row.get(measured), frontier.bases.get(row["replicate"]), measured)


def own_kind_measured(frontiers: Sequence[Frontier]) -> list[str]:
    """Return the price columns on data of the forget sets' own kind that are known of any of them."""
    return [name for name in OWN_KIND if any(f.base is not None and f.base.get(name) is not None for f in frontiers)]
