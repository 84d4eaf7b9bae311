"""How far an evaluation lies beyond the bounds of a search, which is what samplers learn of feasibility."""

import math
from collections.abc import Mapping

from orchestrator.spec import ConstraintsConfig

FEASIBLE = "feasible"
"""Name of the constraint that every observation has: 0 if it neither collapsed nor diverged, else 1."""


def violations(
    bounds: ConstraintsConfig, values: tuple[float, float], *, feasible: bool, base_performance: float | None
) -> dict[str, float]:
    """Return by how much an observation exceeds each bound, in the bound's unit; at most 0 is within it.

    Args:
        bounds: of the spec.
        values: (unlearning quality, performance); infinite, so beyond every bound, where there is no number.
        feasible: neither collapsed nor diverged.
        base_performance: of the base model, in nats per token; only ``performance_increase_at_most`` needs it.
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
    """Return the sum of what lies beyond the bounds; 0: feasible, infinite: there is no number."""
    return math.fsum(value for value in constraints.values() if value > 0)
