"""The examples of one trial along its steps: when each is first as never trained, and what that goes with.

Shapes: N examples, S evaluated steps (the base model's step 0 first).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from orchestrator.claims.trajectories import Trajectory
from orchestrator.frontier import UNEXPOSED
from orchestrator.pareto import Numbers

LEAST_EXAMPLES = 3
"""With fewer, ranks tell nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrialExamples:
    """Every example of one trial at the steps at which it was completed."""

    trajectory: Trajectory
    steps_S: Numbers
    exposures: Mapping[str, Numbers]
    """Exposure in bits by measure (N, S); NaN: not measured. A measure that no row has is missing."""
    traits: Mapping[str, Numbers]
    """``memorization`` and ``difficulty`` before unlearning (N,), nats/token; NaN: not measured."""
    tokens_N: Numbers
    """Target tokens of each example."""

    def times(self, measure: str) -> Numbers:
        """Return the steps until each example is first as never trained, interpolated (N,); infinity: never.

        For one example, as never trained is 0 bits of GenEx, or log2 e bits of RelEx: the references' own floor is a
        mean, and no example's.
        """
        above_NS = self.exposures[measure] - UNEXPOSED[measure]
        reached_NS = above_NS <= 0
        first_N = reached_NS.argmax(axis=1)
        before_N = np.maximum(first_N - 1, 0)
        rows_N = np.arange(len(above_NS))
        high_N, low_N = above_NS[rows_N, before_N], above_NS[rows_N, first_N]
        width_N = high_N - low_N
        part_N = np.divide(high_N, width_N, out=np.ones(len(width_N)), where=width_N > 0)
        found_N = self.steps_S[before_N] + part_N * (self.steps_S[first_N] - self.steps_S[before_N])
        return np.where(reached_NS.any(axis=1), found_N, math.inf)


def rank_correlation(left_N: Numbers, right_N: Numbers) -> float | None:
    """Return Spearman's rank correlation, ties sharing the mean rank, of pairs of which both numbers are known.

    None: there are fewer than ``LEAST_EXAMPLES``, or one side is all ties.
    """
    known_N = ~(np.isnan(left_N) | np.isnan(right_N))
    if known_N.sum() < LEAST_EXAMPLES:
        return None
    left_K, right_K = (stats.rankdata(side_N[known_N]) for side_N in (left_N, right_N))
    left_K, right_K = left_K - left_K.mean(), right_K - right_K.mean()
    size = math.sqrt(float((left_K @ left_K) * (right_K @ right_K)))
    return float(left_K @ right_K) / size if size else None
