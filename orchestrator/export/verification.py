"""Whether a model that was measured again is what the ledger says: how far each metric is from its row."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.ledger import OWN_KIND

_NOT_COMPARED = frozenset({"step", "elapsed_s"})
"""Where it is from, and a clock."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One metric, twice."""

    recorded: float | None
    """In the ledger; None: not measured."""
    measured: float | None
    """Of the model that was loaded again."""

    @property
    def difference(self) -> float:
        """Give how far apart they are: relative to the recorded value, or in its unit where that is below 1.

        So a generalized exposure of nearly 0 bits, which is the difference of two large numbers, may be off by as much
        as one of 1 bit. Infinite where only one was measured.
        """
        if self.recorded is None or self.measured is None:
            return math.inf
        return abs(self.measured - self.recorded) / max(abs(self.recorded), 1.0)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Every metric of a point, as recorded and as measured again."""

    metrics: Mapping[str, Comparison]
    tolerance: float

    @property
    def largest(self) -> float:
        """Give the largest difference; 0: all are equal, bit for bit."""
        return max(comparison.difference for comparison in self.metrics.values())

    @property
    def beyond(self) -> dict[str, Comparison]:
        """Give the metrics that are further apart than tolerated."""
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
        """Give plain data."""
        return {
            "tolerance": self.tolerance,
            "largest_difference": self.largest,
            "metrics": {
                name: {"recorded": found.recorded, "measured": found.measured, "difference": found.difference}
                for name, found in self.metrics.items()
            },
        }


def compare_metrics(recorded: Mapping[str, Any], measured: Mapping[str, Any], *, tolerance: float) -> Verification:
    """Compare every number that was recorded with what was measured again.

    What neither has is left out, and what a row does not have only because an older version did not measure it.
    """
    metrics = {}
    for name, value in _numbers(recorded).items():
        pair = Comparison(recorded=value, measured=measured[name])
        if value is not None or (pair.measured is not None and name not in OWN_KIND):
            metrics[name] = pair
    return Verification(metrics=metrics, tolerance=tolerance)


def _numbers(row: Mapping[str, Any]) -> dict[str, float | None]:
    return {
        name: value
        for name, value in row.items()
        if name not in _NOT_COMPARED and (value is None or isinstance(value, int | float))
    }
