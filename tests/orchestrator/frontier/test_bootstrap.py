"""Bootstrap intervals over seeds: what is resampled, and when there is nothing to say."""

import numpy as np
import pytest

from orchestrator.frontier.bootstrap import RESAMPLES, agree, seed_interval


def mean(values):
    return float(np.mean(values))


def test_one_seed_has_no_interval():
    assert seed_interval([], mean) is None
    assert seed_interval([3.0], mean) is None


def test_two_seeds_give_their_range():
    interval = seed_interval([1.0, 3.0], mean)
    assert (interval.estimate, interval.low, interval.high) == (2.0, 1.0, 3.0)
    assert (interval.seeds, interval.resamples, interval.level) == (2, RESAMPLES, 0.95)


@pytest.mark.parametrize("apart", [0.0, 1.5e-7, 1e-5])
def test_seeds_that_agree_but_for_rounding_are_no_replicates(apart):
    assert seed_interval([2.0, 2.0 * (1 + apart), 2.0 * (1 - apart)], mean) is None
    assert seed_interval([2.0, 2.0, 2.1], mean) is not None


def test_seeds_agree_in_all_their_numbers_each_column_at_its_own_scale():
    numbers = np.array([[30.0, 4.1], [20.0, 4.2], [0.5, 4.4]])
    assert agree([numbers, numbers[::-1] * (1 + 1.5e-7)])
    assert agree([numbers, numbers, numbers])
    apart = numbers.copy()
    apart[2, 1] += 2e-3
    assert not agree([numbers, apart])
    assert not agree([numbers, numbers, apart])
    assert not agree([numbers, numbers[:2]])


def test_fewer_than_two_seeds_and_seeds_without_numbers_do_not_agree():
    assert not agree([])
    assert not agree([np.ones((3, 2))])
    assert not agree([np.empty((0, 2)), np.empty((0, 2))])


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
