"""Shares of the unit cube to values: always in range, always in proportion, on any space."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import Choice, Integer, Real, Space, all_dimensions, distributions, parse_space, point_at, value_at
from tests.search_spaces.test_optuna_space import any_space, integers, reals

shares = st.floats(0, 1, exclude_max=True)
CONDITIONAL = {"opt": {"choices": {"sgd": {"lr": {"low": 0.1, "high": 0.2}}, "adamw": {"lr": [7]}}}, "batch": [8, 16]}


@settings(max_examples=100, deadline=None)
@given(data=any_space, draw=st.data())
def test_a_point_has_the_dimensions_of_its_branches_and_is_in_range(data, draw):
    space = parse_space(data)
    paths = [path for path, _ in all_dimensions(space)]
    point = point_at(space, {path: draw.draw(shares) for path in paths})
    described = distributions(space, point)
    assert list(point) == list(described), "in the order of suggestion"
    assert all(described[path]._contains(described[path].to_internal_repr(value)) for path, value in point.items())
    assert set(point) <= set(paths)
    assert len(set(paths)) == len(paths)


def test_every_branch_has_its_dimensions():
    assert [path for path, _ in all_dimensions(parse_space(CONDITIONAL))] == [
        "opt",
        "opt=sgd/lr",
        "opt=adamw/lr",
        "batch",
    ]


@given(st.one_of(reals, integers), shares, shares)
def test_a_range_rises_with_its_share(data, one, other):
    dimension = parse_space({"p": data}).dimensions["p"]
    assert value_at(dimension, min(one, other)) <= value_at(dimension, max(one, other))


@given(st.lists(st.integers(), min_size=1, max_size=40, unique=True), shares)
def test_choices_have_equal_shares(values, share):
    dimension = Choice(options=tuple((value, Space()) for value in values))
    index = values.index(value_at(dimension, share))
    assert index <= share * len(values) <= index + 1


@pytest.mark.parametrize("dimension", [Real(low=1e-5, high=1e-1, log=True), Real(low=-3.0, high=5.0)])
def test_a_real_range_is_cut_in_proportion(dimension):
    scale = math.log if dimension.log else float
    low, high = scale(dimension.low), scale(dimension.high)
    for share in (0.0, 0.25, 0.5, 0.75):
        assert scale(value_at(dimension, share)) == pytest.approx(low + share * (high - low))


@pytest.mark.parametrize("log", [False, True])
def test_an_integer_has_the_share_that_optunas_random_sampler_gives_it(log):
    dimension = Integer(low=1, high=8, log=log)
    values = [value_at(dimension, (index + 0.5) / 10_000) for index in range(10_000)]
    for value in range(1, 9):
        width = math.log((value + 0.5) / (value - 0.5)) / math.log(8.5 / 0.5) if log else 1 / 8
        assert values.count(value) == pytest.approx(10_000 * width, abs=2)
