"""When numbers of several forget sets count as alike: the one rule of what is said and what is looked for."""

from collections.abc import Iterable

MATCHED_WITHIN = 0.1
"""Share of the smallest number by which the largest may exceed it, unless ``data.match.tolerance`` says otherwise."""


def are_matched(values: Iterable[float], within: float = MATCHED_WITHIN) -> bool:
    """Return whether positive numbers differ by no more than a share of the smallest."""
    low, *_, high = sorted(values)
    return 0 < high <= (1 + within) * low
