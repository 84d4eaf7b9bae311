"""When numbers of several forget sets count as alike: the one rule of what is said and what is looked for."""

from collections.abc import Iterable


def are_matched(values: Iterable[float], within: float) -> bool:
    """Return whether positive numbers differ by no more than a share of the smallest."""
    low, *_, high = sorted(values)
    return 0 < high <= (1 + within) * low
