"""Whether a model that is measured again has the ledger's metrics, and how far each of them is off."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.ledger import METRIC_COLUMNS, OWN_KIND

_NOT_COMPARED = frozenset({"step", "elapsed_s"})
"""Columns that do not describe the model: its step, and a time."""
_LATER = frozenset({*OWN_KIND, *METRIC_COLUMNS})
"""Columns that older versions did not measure."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One metric, as recorded and as measured again."""

    recorded: float | None
    """The value in the ledger; None: not measured."""
    measured: float | None
    """The value of the model that was loaded again; None: not measured."""

    @property
    def difference(self) -> float:
        """The distance of the two values, relative to the recorded one; in its unit if that is below 1.

        A generalized exposure near 0 bits, which is the difference of two large numbers, may therefore be off by as
        much as one of 1 bit. The difference is infinite if only one value was measured.
        """
        if self.recorded is None or self.measured is None:
            return math.inf
        return abs(self.measured - self.recorded) / max(abs(self.recorded), 1.0)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Every metric of an evaluated step, as recorded and as measured again."""

    metrics: Mapping[str, Comparison]
    tolerance: float

    @property
    def largest(self) -> float:
        """The largest difference; 0: all metrics are equal, bit for bit."""
        return max(comparison.difference for comparison in self.metrics.values())

    @property
    def beyond(self) -> dict[str, Comparison]:
        """The metrics whose difference is larger than the tolerance."""
        return {name: found for name, found in self.metrics.items() if not found.difference <= self.tolerance}

    def __str__(self) -> str:
        if self.largest == 0:
            return f"all {len(self.metrics)} metrics equal the ledger's, bit for bit"
        name = max(self.metrics, key=lambda metric: self.metrics[metric].difference)
        return (
            f"all {len(self.metrics)} metrics are within {self.tolerance:g} of the ledger's; largest difference: "
            f"{name}, {self.largest:.2g}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain data for ``provenance.json``."""
        return {
            "tolerance": self.tolerance,
            "largest_difference": self.largest,
            "metrics": {
                name: {"recorded": found.recorded, "measured": found.measured, "difference": found.difference}
                for name, found in self.metrics.items()
            },
        }


def compare_metrics(recorded: Mapping[str, Any], measured: Mapping[str, Any], *, tolerance: float) -> Verification:
    """Compare every recorded number with the one that was measured again.

    A metric that neither side has is left out, and so is one that the row lacks because an older version did not
    measure it.
    """
    metrics = {}
    for name, value in _numbers(recorded).items():
        pair = Comparison(recorded=value, measured=measured.get(name))
        if value is not None or (pair.measured is not None and name not in _LATER):
            metrics[name] = pair
    return Verification(metrics=metrics, tolerance=tolerance)


def _numbers(row: Mapping[str, Any]) -> dict[str, float | None]:
    return {
        name: value
        for name, value in row.items()
        if name not in _NOT_COMPARED and (value is None or isinstance(value, int | float))
    }
