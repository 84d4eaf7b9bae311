"""How far an evaluation lies beyond the bounds that a search was given: what samplers are told of feasibility."""

import math
from collections.abc import Mapping

from orchestrator.spec import ConstraintsConfig

FEASIBLE = "feasible"
"""The constraint that every observation has: it did not collapse or diverge. 0 or 1; there is no more or less of it."""


def violations(
    bounds: ConstraintsConfig, values: tuple[float, float], *, feasible: bool, base_performance: float | None
) -> dict[str, float]:
    """Give by how much an observation exceeds each bound, in the bound's unit; at most 0 is within it.

    Args:
        bounds: what the spec says.
        values: (unlearning quality, performance); infinite where there is no number, and beyond every bound.
        feasible: neither collapsed nor diverged.
        base_performance: the base model's, nats per token; needed by ``performance_increase_at_most`` alone.
    """
    found = {FEASIBLE: 0.0 if feasible else 1.0}
    quality, performance = values
    if bounds.performance_at_most is not None:
        found["performance_at_most"] = performance - bounds.performance_at_most
    if bounds.performance_increase_at_most is not None and base_performance is not None:
        found["performance_increase_at_most"] = performance - base_performance - bounds.performance_increase_at_most
    if bounds.exposure_at_most is not None:
        found["exposure_at_most"] = quality - bounds.exposure_at_most
    return found


def total_violation(constraints: Mapping[str, float]) -> float:
    """Add up what lies beyond the bounds; 0: feasible. Infinite where there is no number."""
    return math.fsum(value for value in constraints.values() if value > 0)
