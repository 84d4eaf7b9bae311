"""The points of a frontier that a user would choose, and those of its curve."""

from collections.abc import Iterable, Mapping

from orchestrator.frontier import Frontier, Row, summary

CHEAP, KNEE, UNEXPOSED_POINT = "cheap", "knee", "as never trained"


def chosen_points(frontier: Frontier) -> Mapping[str, Row]:
    """Return the points that a user would choose on a frontier, by what they are; the base model is none of them.

    - ``cheap``: of what reaches the loosest target that is reached, the evaluation with the fewest steps;
    - ``knee``: the point farthest below the chord between the frontier's ends;
    - ``as never trained``: the evaluated step nearest to where the mean exposure ends; if no trial ends it, the least
      exposed point.

    A point that is two of them stands under the first.
    """
    cheap = next((target.cheapest for target in frontier.targets if _is_unlearned(target.cheapest)), None)
    unlearned = [row for row in frontier.points if _is_unlearned(row)]
    found = {
        CHEAP: cheap,
        KNEE: frontier.knee,
        UNEXPOSED_POINT: frontier.priced or next(iter(unlearned), None),
    }
    chosen: dict[str, Row] = {}
    for name, row in found.items():
        if row is not None and _is_unlearned(row) and not any(summary.is_same(row, other) for other in chosen.values()):
            chosen[name] = row
    return chosen


def names_of_points(frontiers: Iterable[Frontier]) -> dict[tuple[str, int], str]:
    """Return what the chosen points of frontiers are, by trial and step."""
    return {
        (row["trial_id"], row["step"]): name for frontier in frontiers for name, row in chosen_points(frontier).items()
    }


def curve_points(frontier: Frontier, most: int | None) -> list[Row]:
    """Return the points of a frontier, the least exposed first; the base model is none of them.

    Args:
        frontier: the frontier.
        most: how many points at most, evenly spread, the knee and the ends first; None: all.
    """
    rows = [row for row in frontier.points if _is_unlearned(row)]
    if most is None or len(rows) <= most:
        return rows
    knee = [index for index, row in enumerate(rows) if summary.is_same(row, frontier.knee)]
    spread = [round(index * (len(rows) - 1) / max(most - 1, 1)) for index in range(most)]
    kept = list(dict.fromkeys([*knee, 0, len(rows) - 1, *spread]))[:most]
    return [rows[index] for index in sorted(kept)]


def _is_unlearned(row: Row | None) -> bool:
    return row is not None and row["step"] > 0
