"""Pareto sets, hypervolume and the knee against brute force."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.pareto import hypervolume, knee, nondominated

points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


def array(candidates):
    return np.array(candidates, dtype=float).reshape(-1, 2)


def dominates(a, b):
    return a[0] <= b[0] and a[1] <= b[1] and a != b


@given(points)
def test_nondominated_is_brute_force_dominance(candidates):
    expected = sorted({p for p in candidates if not any(dominates(q, p) for q in candidates)})
    assert [candidates[index] for index in nondominated(array(candidates))] == expected


@given(points)
def test_of_equal_points_the_first_stays(candidates):
    for index in nondominated(array(candidates)):
        assert candidates.index(candidates[index]) == index


@given(points, st.tuples(st.integers(0, 6), st.integers(0, 6)))
def test_hypervolume_counts_unit_squares(candidates, corner):
    squares = sum(
        any(p[0] <= x and p[1] <= y for p in candidates)
        for x, y in itertools.product(range(corner[0]), range(corner[1]))
    )
    assert hypervolume(array(candidates), corner) == pytest.approx(squares)


def test_the_edges_of_hypervolume():
    assert hypervolume(array([]), (1.0, 1.0)) == 0.0
    assert hypervolume(array([(1.0, 1.0)]), (1.0, 1.0)) == 0.0
    assert hypervolume(array([(0.5, 0.25)]), (1.0, 1.0)) == pytest.approx(0.375)
    assert hypervolume(array([(2.0, 0.0)]), (1.0, 1.0)) == 0.0


def distance_below_chord(front, index):
    """By the formula of the signed distance of a point from a line, on axes scaled to 0..1."""
    low, high = front.min(axis=0), front.max(axis=0)
    (x1, y1), (x2, y2), (x, y) = ((front[i] - low) / (high - low) for i in (0, -1, index))
    return ((y2 - y1) * x - (x2 - x1) * y + x2 * y1 - y2 * x1) / np.hypot(x2 - x1, y2 - y1)


@given(points)
def test_the_knee_is_farthest_below_the_chord(candidates):
    front = array(candidates)[nondominated(array(candidates))]
    found = knee(front)
    if len(front) < 3:
        assert found is None
        return
    distances = [distance_below_chord(front, index) for index in range(len(front))]
    if found is None:
        assert max(distances) == pytest.approx(0)
    else:
        assert distances[found] == pytest.approx(max(distances))
        assert distances[found] > 0
        assert all(distance < distances[found] - 1e-12 for distance in distances[:found])


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ([], None),
        ([(1, 1)], None),
        ([(1, 2), (2, 1)], None),
        ([(0, 2), (1, 1), (2, 0)], None),  # straight
        ([(0, 4), (3, 3), (4, 0)], None),  # bulging
        ([(0, 4), (1, 1), (4, 0)], 1),
        ([(0, 6), (1, 3), (3, 1), (6, 0)], 1),  # equally far: the better unlearned
        ([(0, 4e9), (1e-9, 1e9), (4e-9, 0)], 1),  # units do not matter
    ],
)
def test_a_knee_is_where_the_frontier_bends_in(front, expected):
    assert knee(array(front)) == expected
