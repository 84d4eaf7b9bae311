"""The points of a frontier that a table shows, and how it marks them."""

from collections.abc import Sequence

from orchestrator.frontier.frontier import Frontier
from orchestrator.frontier.spreads import Row
from orchestrator.frontier.summary.texts import DISTRIBUTION_NAMES

POINTS_SHOWN = 12
"""Frontier points of a forget set in a table; ``frontier --json`` has all."""


def points_shown(frontier: Frontier, most: int = POINTS_SHOWN) -> list[Row]:
    """Return at most ``most`` points of a frontier, including its ends, knee and priced point, the least exposed first.

    A priced point that is not on the frontier is one more.
    """
    points = list(frontier.points)
    wanted = [index for index, row in enumerate(points) if is_same(row, frontier.knee) or is_same(row, frontier.priced)]
    if len(points) > most:
        kept = {round(index * (len(points) - 1) / (most - 1)) for index in range(most)}
        fixed = {0, len(points) - 1, *wanted}
        for index in wanted:
            if index not in kept:
                kept.remove(min(kept - fixed, key=lambda other: (abs(other - index), other)))
                kept.add(index)
        points = [points[index] for index in sorted(kept)]
    if frontier.priced is not None and not any(is_same(row, frontier.priced) for row in points):
        points = sorted([*points, frontier.priced], key=lambda row: _first_objective(frontier, row))
    return points


def _first_objective(frontier: Frontier, row: Row) -> float:
    value = frontier.minimised(row)[0]
    return float("inf") if value is None else value


def is_same(row: Row, other: Row | None) -> bool:
    """Return whether two rows are the same evaluation."""
    return other is not None and (row["trial_id"], row["step"]) == (other["trial_id"], other["step"])


def point_marks(frontier: Frontier, row: Row) -> str:
    """Return the letters that tables mark a point by: k, the knee; p, the evaluated step nearest to the price."""
    letters = {"k": frontier.knee, "p": frontier.priced}
    return "".join(letter for letter, marked in letters.items() if is_same(row, marked))


def points_title(frontier: Frontier, most: int = POINTS_SHOWN) -> str:
    """Return the title of a table of ``points_shown``."""
    pareto = {(row["trial_id"], row["step"]) for row in frontier.points}
    rows = points_shown(frontier, most)
    shown, count = sum((row["trial_id"], row["step"]) in pareto for row in rows), len(pareto)
    share = f"{shown} of {count}" if shown < count else str(count)
    extra = ", and the one nearest to the price" if shown < len(rows) else ""
    return f"{frontier.forget_set} ({DISTRIBUTION_NAMES[frontier.distribution]}): {share} Pareto points{extra}"


def ends(rows: Sequence[Row], most: int) -> list[Row]:
    """Return the first and the last ``most`` rows."""
    return list(rows) if len(rows) <= 2 * most else [*rows[:most], *rows[-most:]]
