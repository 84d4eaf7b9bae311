"""A space as a cube: every dimension of every branch takes a share in [0, 1) and gives a value.

Quasi-random points and models of the whole tree need a fixed number of dimensions, whichever branch a point lies in.
"""

import math
from collections.abc import Mapping

from search_spaces.branches import Varying, varying_values
from search_spaces.dimensions import Choice, Integer, Real, Space, Value


def value_at(dimension: Varying, share: float) -> Value:
    """Return the value at a share in [0, 1) of a dimension; equal shares are equally likely values.

    Choices have equal shares. A range is cut as Optuna's random sampler cuts it: an integer has the share of
    [integer - 1/2, integer + 1/2), of the logarithm if the range is logarithmic.
    """
    match dimension:
        case Choice():
            return dimension.options[int(share * len(dimension.options))][0]
        case Integer():
            whole = round(_between(dimension.low - 0.5, dimension.high + 0.5, share, log=dimension.log))
            return min(max(whole, dimension.low), dimension.high)
        case Real():
            return min(
                max(_between(dimension.low, dimension.high, share, log=dimension.log), dimension.low), dimension.high
            )


def share_of(dimension: Real | Integer, value: float) -> float:
    """Return the share of a range at which a value stands: the inverse of ``value_at``; of an integer, its middle."""
    half = 0.5 if isinstance(dimension, Integer) else 0.0
    low, high = dimension.low - half, dimension.high + half
    if dimension.log:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def point_at(space: Space, shares: Mapping[str, float]) -> dict[str, Value]:
    """Return the point, by path, at the shares of all dimensions. Those of other branches are ignored."""
    return varying_values(space, lambda path, dimension: value_at(dimension, shares[path]))


def _between(low: float, high: float, share: float, *, log: bool) -> float:
    if log:
        return math.exp(_between(math.log(low), math.log(high), share, log=False))
    return low + share * (high - low)
