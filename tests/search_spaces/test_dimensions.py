"""Grids against itertools.product, corners, and points turned into settings."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import SpaceError, corners, grid, parse_space, repeated_settings, settings


def frozen(points):
    return sorted(tuple(sorted(point.items(), key=repr)) for point in points)


def test_a_grid_is_the_product_of_its_dimensions_last_one_fastest():
    space = parse_space({"a": [1, 2], "fixed": "x", "b": ["u", "v", "w"], "c": {"low": 3, "high": 5}})
    expected = [
        {"a": a, "b": b, "c": c} for a, b, c in itertools.product([1, 2], ["u", "v", "w"], [3, 4, 5])
    ]  # fmt: skip
    assert list(grid(space)) == expected


@given(st.lists(st.integers(1, 4), max_size=4))
def test_a_grid_of_flat_choices_is_the_product(sizes):
    space = parse_space({f"d{index}": list(range(size)) for index, size in enumerate(sizes)})
    expected = [
        {f"d{index}": value for index, value in enumerate(values)}
        for values in itertools.product(*(range(size) for size in sizes))
    ]
    assert list(grid(space)) == expected


def test_a_nested_dimension_exists_only_under_its_value():
    space = parse_space(
        {"opt": {"choices": {"sgd": {"lr": [1, 2], "momentum": [0.0, 0.9]}, "adamw": {"lr": [7]}}}, "batch": [8, 16]}
    )
    sgd = [
        {"opt": "sgd", "opt=sgd/lr": lr, "opt=sgd/momentum": momentum, "batch": batch}
        for lr, momentum, batch in itertools.product([1, 2], [0.0, 0.9], [8, 16])
    ]
    adamw = [{"opt": "adamw", "opt=adamw/lr": 7, "batch": batch} for batch in (8, 16)]
    assert list(grid(space)) == sgd + adamw


def test_an_empty_space_has_one_point():
    assert list(grid(parse_space({"a": 1}))) == [{}]


def test_a_log_grid_has_equal_ratios_and_exact_ends():
    space = parse_space({"lr": {"low": 1e-5, "high": 1e-2, "log": True, "grid_points": 4}})
    values = [point["lr"] for point in grid(space)]
    assert (values[0], values[-1]) == (1e-5, 1e-2)
    assert all(math.isclose(b / a, 10) for a, b in itertools.pairwise(values))


def test_a_linear_grid_has_equal_distances_and_exact_ends():
    space = parse_space({"m": {"low": 0.0, "high": 0.9, "grid_points": 4}})
    values = [point["m"] for point in grid(space)]
    assert (values[0], values[-1]) == (0.0, 0.9)
    assert values == pytest.approx([0.0, 0.3, 0.6, 0.9])


def test_a_grid_over_a_real_range_without_points_names_its_path():
    space = parse_space({"opt": {"choices": {"sgd": {"lr": {"low": 0.1, "high": 0.2}}}}})
    with pytest.raises(SpaceError, match="opt=sgd/lr: a grid needs 'grid_points'"):
        list(grid(space))


def test_corners_hold_every_combination_of_choices():
    space = parse_space(
        {
            "opt": {"choices": {"sgd": {"momentum": [0.0, 0.9]}, "adamw": {"lr": {"low": 0.1, "high": 0.2}}}},
            "batch": [8, 16],
        }
    )
    combinations = {
        (point["opt"], point.get("opt=sgd/momentum"), point["batch"]) for point in corners(space)
    }  # fmt: skip
    assert combinations == {("sgd", m, b) for m in (0.0, 0.9) for b in (8, 16)} | {("adamw", None, b) for b in (8, 16)}


def test_settings_flatten_sub_spaces_and_include_fixed_ones():
    space = parse_space({"opt": {"choices": {"sgd": {"lr": [1, 2], "clip": 5.0}, "adamw": {"lr": [3]}}}, "batch": 8})
    assert settings(space, {"opt": "sgd", "opt=sgd/lr": 2}) == {"opt": "sgd", "lr": 2, "clip": 5.0, "batch": 8}
    assert settings(space, {"opt": "adamw", "opt=adamw/lr": 3}) == {"opt": "adamw", "lr": 3, "batch": 8}


def test_a_sub_space_overrides_a_setting_that_stands_before_it():
    space = parse_space({"lr": 1, "opt": {"choices": {"sgd": {"lr": [2]}, "adamw": {}}}})
    assert settings(space, {"opt": "sgd", "opt=sgd/lr": 2})["lr"] == 2
    assert settings(space, {"opt": "adamw"})["lr"] == 1


def test_a_setting_that_one_point_could_give_twice_is_found_with_its_paths():
    rates = {"sgd": {"lr": [1, 2]}, "adamw": {"lr": {"low": 3, "high": 4}}}
    optimizer = {"choices": rates}
    assert repeated_settings(parse_space({"optimizer": optimizer, "batch": 4})) == {}
    assert repeated_settings(parse_space({"optimizer": optimizer, "lr": 9})) == {
        "lr": ["optimizer=sgd/lr", "lr", "optimizer=adamw/lr"]
    }
    npo = {"choices": {"npo": {"beta": 1}, "ascent": {}}}
    other = {"choices": {"lion": {"beta": 2}, "sgd": {}}}
    assert repeated_settings(parse_space({"objective": npo, "optimizer": other})) == {
        "beta": ["objective=npo/beta", "optimizer=lion/beta"]
    }
    nested = {"choices": {"a": {"inner": {"choices": {"x": {"inner": 1}}}}}}
    assert repeated_settings(parse_space({"outer": nested})) == {"inner": ["outer=a/inner", "outer=a/inner=x/inner"]}
