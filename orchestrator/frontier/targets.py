"""What reaches a level of unlearning: soonest, and at best performance."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from orchestrator.frontier.crossings import columns
from orchestrator.frontier.levels import Row
from orchestrator.pareto import Numbers


@dataclass(frozen=True, kw_only=True)
class Target:
    """What reaches a level of the first objective. Each row says its steps and, as ``elapsed_s``, its seconds.

    None: no candidate does. Ties go to the better second objective or the fewer steps, then to the better first
    objective, then to the first by trial and step.
    """

    exposure_at_most: float
    """Of the first objective; where that is a signed measure, of its distance to the unexposed level."""
    below_floor: bool
    """Whether that is less than the reference models have on average, which never saw the forget set."""
    performance_at_most: float
    """Infinity: no bound."""
    cheapest: Row | None
    """The candidate of fewest ascent steps. Steps of other batch sizes or optimizers are not the same work."""
    best: Row | None
    """The candidate of best performance (second objective)."""


def target_of(
    candidates: pa.Table,
    values_N2: Numbers,
    exposure_at_most: float,
    performance_at_most: float,
    *,
    floor: float | None = None,
) -> Target:
    """Find what comes within the bounds among N candidates in (trial, step) order, with their two objectives.

    ``floor`` is what the reference models have of the first objective on average; None: not known.
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
