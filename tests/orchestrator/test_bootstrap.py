"""Bootstrap intervals over seeds: what is resampled, and when there is nothing to say."""

import numpy as np
import pytest

from orchestrator.bootstrap import RESAMPLES, seed_interval


def mean(values):
    return float(np.mean(values))


def test_one_seed_has_no_interval():
    assert seed_interval([], mean) is None
    assert seed_interval([3.0], mean) is None


def test_two_seeds_give_their_range():
    interval = seed_interval([1.0, 3.0], mean)
    assert (interval.estimate, interval.low, interval.high) == (2.0, 1.0, 3.0)
    assert (interval.seeds, interval.resamples, interval.level) == (2, RESAMPLES, 0.95)


def test_seeds_that_agree_leave_no_doubt():
    interval = seed_interval([2.0] * 4, mean)
    assert (interval.low, interval.estimate, interval.high) == (2.0, 2.0, 2.0)


def test_the_same_rows_give_the_same_interval():
    values = list(np.random.default_rng(1).normal(size=7))
    assert seed_interval(values, mean) == seed_interval(values, mean)


def test_many_seeds_give_the_interval_of_the_normal_approximation():
    values = np.random.default_rng(2).normal(loc=5.0, size=100)
    interval = seed_interval(values, mean)
    error = values.std() / 10
    assert interval.low == pytest.approx(interval.estimate - 1.96 * error, abs=0.2 * error)
    assert interval.high == pytest.approx(interval.estimate + 1.96 * error, abs=0.2 * error)


def test_a_seed_is_resampled_whole():
    seen = set()

    def statistic(groups):
        seen.add(tuple(map(tuple, groups)))
        return 0.0

    seed_interval([(1, 2), (3,)], statistic)
    assert seen == {((1, 2), (1, 2)), ((1, 2), (3,)), ((3,), (3,))}
