"""Memorization and difficulty against pure Python."""

import math

import numpy as np
import pytest

from trainables.metrics.difficulty import difficulty, memorization, thirds

BASE = [-2.0, -9.0]
REFERENCES = [[-6.0, -8.0], [-7.0, -12.0]]
TARGETS = [4, 3]


def mean_logp(example):
    return math.log(sum(math.exp(row[example]) for row in REFERENCES) / len(REFERENCES))


def test_memorization_is_the_gain_over_the_references_per_token():
    found = memorization(np.array(BASE), np.array(REFERENCES), np.array(TARGETS))
    assert found.tolist() == pytest.approx([(BASE[i] - mean_logp(i)) / TARGETS[i] for i in range(2)])
    assert found[0] > 0


def test_difficulty_is_the_references_loss_per_token():
    found = difficulty(np.array(REFERENCES), np.array(TARGETS))
    assert found.tolist() == pytest.approx([-mean_logp(i) / TARGETS[i] for i in range(2)])


def test_neither_underflows():
    assert difficulty(np.array([[-5000.0]]), np.array([100])).tolist() == [50.0]
    assert memorization(np.array([-4000.0]), np.array([[-5000.0]]), np.array([100])).tolist() == [10.0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0, 1.0, 2.0], ((1,), (2,), (0,))),
        ([5.0, 1.0, 4.0, 2.0, 3.0, 0.0], ((1, 5), (3, 4), (0, 2))),
        ([1.0] * 7, ((0, 1, 2), (3, 4), (5, 6))),
        ([2.0, 1.0, 1.0, 1.0, 0.0], ((1, 4), (2, 3), (0,))),
    ],
    ids=["three", "six", "ties", "some_ties"],
)
def test_thirds_are_equally_large_to_one_example_and_ties_go_by_order(values, expected):
    assert thirds(np.array(values)) == expected
