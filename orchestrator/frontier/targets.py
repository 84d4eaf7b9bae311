"""The evaluations that reach a level of unlearning: with the fewest steps, and with the best performance."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from orchestrator.frontier.spreads import Row
from orchestrator.frontier.trial_rows import columns
from orchestrator.pareto import Numbers


@dataclass(frozen=True, kw_only=True)
class Target:
    """The evaluations that reach a level of the first objective. Rows have their steps and seconds (``elapsed_s``).

    A row is None if no candidate reaches the level. Ties are broken by the second objective or the steps, then by the
    first objective, then by trial and step.
    """

    exposure_at_most: float
    """Bound of the first objective; for a signed measure, of its distance to the unexposed level."""
    below_floor: bool
    """Whether the bound is below the mean of the reference models, which never saw the forget set."""
    performance_at_most: float
    """Bound of the second objective; infinity: none."""
    cheapest: Row | None
    """The candidate with the fewest ascent steps. Steps of different batch sizes or optimizers are not equal work."""
    best: Row | None
    """The candidate with the best performance (second objective)."""


def target_of(
    candidates: pa.Table,
    values_N2: Numbers,
    exposure_at_most: float,
    performance_at_most: float,
    *,
    floor: float | None = None,
) -> Target:
    """Return the best of N candidates within the bounds.

    Args:
        candidates: rows in (trial, step) order.
        values_N2: their two objectives.
        exposure_at_most: bound of the first objective.
        performance_at_most: bound of the second objective.
        floor: mean of the first objective over the reference models; None: not known.
    """
    exposure_N, performance_N = values_N2.T
    (within,) = np.nonzero((exposure_N <= exposure_at_most) & (performance_N <= performance_at_most))
    exposure, performance = exposure_N[within], performance_N[within]
    step = columns(candidates, ("step",))[within, 0]

    def first(*keys: Numbers) -> Row | None:
        left = np.arange(len(within))
        for key in keys:
            left = left[key[left] == key[left].min(initial=np.inf)]
        return next(iter(candidates.take(within[left[:1]]).to_pylist()), None)

    return Target(
        exposure_at_most=exposure_at_most,
        below_floor=floor is not None and exposure_at_most < floor,
        performance_at_most=performance_at_most,
        cheapest=first(step, performance, exposure),
        best=first(performance, step, exposure),
    )
