"""The walk along a point's branch, and what is made of it."""

import pytest

from search_spaces import contains, parse_space, settings
from search_spaces.branches import taken_branch

SPACE = parse_space(
    {
        "batch_size": 4,
        "optimizer": {
            "choices": {
                "sgd": {"learning_rate": {"low": 1e-3, "high": 1e-1}, "momentum": [0.0, 0.9]},
                "adamw": {"learning_rate": {"low": 1e-5, "high": 1e-3}, "clip_norm": 1.0},
            }
        },
        "warmup_steps": {"low": 0, "high": 5},
    }
)
POINT = {"optimizer": "adamw", "optimizer=adamw/learning_rate": 1e-4, "warmup_steps": 2}


def test_the_walk_goes_along_the_branch_that_is_chosen_in_the_order_of_the_space():
    asked = []

    def choose(path, dimension):
        asked.append(path)
        return POINT[path]

    visits = [(name, path, value) for name, path, _, value in taken_branch(SPACE, choose)]
    assert visits == [
        ("batch_size", "batch_size", 4),
        ("optimizer", "optimizer", "adamw"),
        ("learning_rate", "optimizer=adamw/learning_rate", 1e-4),
        ("clip_norm", "optimizer=adamw/clip_norm", 1.0),
        ("warmup_steps", "warmup_steps", 2),
    ]
    assert asked == list(POINT), "a fixed setting is not asked for"
    assert settings(SPACE, POINT) == {name: value for name, _, value in visits}


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "lion"},
        {"optimizer": "sgd"},
        {"optimizer": None},
        {"optimizer=adamw/learning_rate": 1e-2},
        {"optimizer=adamw/learning_rate": "1e-4"},
        {"optimizer=sgd/momentum": 0.9},
        {"warmup_steps": 2.5},
        {"warmup_steps": 6},
        {"warmup_steps": None},
        {"batch_size": 4},
        {"unknown": 1},
    ],
)
def test_a_space_contains_a_point_with_exactly_its_branchs_dimensions_each_in_its_range(changes):
    assert contains(SPACE, POINT)
    assert not contains(SPACE, POINT | changes)
    for path in changes.keys() & POINT.keys():
        assert not contains(SPACE, {other: value for other, value in POINT.items() if other != path})
