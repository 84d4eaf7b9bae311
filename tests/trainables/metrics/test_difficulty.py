"""Memorization and difficulty against pure Python."""

import math

import numpy as np
import pytest

from trainables.metrics.difficulty import difficulty, memorization

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
