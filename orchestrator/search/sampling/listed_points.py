"""The points of a grid, and how many trials a stratum proposes. Counting the trials of a sweep loads no Optuna."""

import random

from orchestrator.spec import LISTING, SweepSpec
from search_spaces import Value, grid
from trainables.optim import Horizon

Candidate = tuple[dict[str, Value], int]
"""A point of the space, and the index on the step axis of how far to go."""


def grid_points(spec: SweepSpec) -> list[Candidate]:
    """Return a grid's points. Unless the horizon is free, the step axis is one of the grid's dimensions.

    The step axis varies slowest, so that a longer axis appends to the list.
    """
    indices = [len(spec.steps) - 1] if spec.horizon is Horizon.FREE else range(len(spec.steps))
    return [(point, index) for index in indices for point in grid(spec.space)]


def shuffled_points(spec: SweepSpec, *, seed: int) -> list[Candidate]:
    """Return the same points in random order within each step value, so that a longer axis appends here too."""
    points = grid_points(spec)
    own = len(list(grid(spec.space)))
    parts = [points[start : start + own] for start in range(0, len(points), own)]
    return [p for index, part in enumerate(parts) for p in random.Random(f"{seed}/{index}").sample(part, own)]  # noqa: S311  # no secret


def trials_per_stratum(spec: SweepSpec) -> int | None:
    """Return how many trials each stratum proposes; None: as many as the sweep's budget allows."""
    if spec.search.trials is not None or spec.search.sampler not in LISTING:
        return spec.search.trials
    return spec.listed_trials
