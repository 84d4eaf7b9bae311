"""Intervals over replicates: against resamples enumerated by hand, and their level by simulation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.claims.intervals import LEAST_RESAMPLED, MOST_ENUMERATED, estimate, holm, replicates_needed
from tests.support import PROPERTY

SPREAD = [0.3, 0.9, 1.0, 1.4, 2.6]


def by_hand(values):
    """Every resample of a handful of numbers, one after another; the ends of the studentized interval."""
    count, mean = len(values), np.mean(values)
    error = np.std(values, ddof=1) / math.sqrt(count)
    found = []
    for drawn in itertools.product(values, repeat=count):
        own = np.std(drawn, ddof=1) / math.sqrt(count)
        away = np.mean(drawn) - mean
        found.append(away / own if own > 1e-9 else math.copysign(math.inf, away))
    found.sort()
    low, high = (found[math.ceil(share * len(found)) - 1] for share in (0.025, 0.975))
    return mean - high * error, mean - low * error


@pytest.mark.parametrize("values", [SPREAD, [-1.0, 0.5, 2.0, 8.0, 9.0]])
def test_the_interval_is_the_studentized_bootstrap_of_all_resamples(values):
    found = estimate(values)
    assert (found.low, found.high) == pytest.approx(by_hand(values))
    assert found.p == pytest.approx(stats.ttest_1samp(values, 0.0).pvalue)


@pytest.mark.parametrize("count", [3, LEAST_RESAMPLED - 1])
def test_of_few_replicates_it_is_students(count):
    found, values = estimate(SPREAD[:count]), SPREAD[:count]
    expected = stats.t.interval(0.95, count - 1, loc=np.mean(values), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)


def test_of_many_replicates_it_is_drawn_and_near_students_where_effects_are_normal():
    values = stats.norm.ppf((np.arange(40) + 0.5) / 40, loc=1.0)
    assert len(values) > MOST_ENUMERATED
    found = estimate(values)
    expected = stats.t.interval(0.95, 39, loc=np.mean(values), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected, abs=0.05)
    assert estimate(values) == found


def test_with_fewer_than_three_nothing_is_known_of_the_spread():
    for values in ([], [1.0], [1.0, 2.0]):
        found = estimate(values)
        assert (found.low, found.high, found.p, found.replicates) == (None, None, None, len(values))


def test_one_replicate_several_times_has_no_interval():
    assert estimate([1.0, 1.00002, 0.99999, 1.0, 1.0]).agree
    assert estimate([0.0] * 5).agree
    assert estimate([1.0, 1.001, 1.0]).low is not None


def test_ties_leave_a_finite_interval():
    found = estimate([1.0] * 7 + [0.8])
    assert math.isfinite(found.low) and math.isfinite(found.high)
    assert found.low < found.mean < found.high


NUMBERS = st.lists(st.floats(-10, 10), min_size=5, max_size=8)


@PROPERTY
@given(NUMBERS, st.randoms())
def test_the_order_of_replicates_does_not_matter(values, random):
    shuffled = random.sample(values, len(values))
    assert estimate(shuffled) == estimate(values)


@PROPERTY
@given(st.lists(st.integers(-100, 100), min_size=5, max_size=8, unique=True), st.sampled_from([0.25, 8.0]))
def test_another_unit_scales_the_interval_and_leaves_p(values, unit):
    found, scaled = estimate(values), estimate([unit * value for value in values])
    assert (scaled.low, scaled.high) == pytest.approx((unit * found.low, unit * found.high))
    assert scaled.p == pytest.approx(found.p)
    turned = estimate([-value for value in values])
    assert turned.p == pytest.approx(found.p)
    assert turned.mean == pytest.approx(-found.mean)


@pytest.mark.parametrize(("count", "normal"), [(5, True), (8, True), (8, False)])
def test_the_level_holds_where_that_of_percentiles_does_not(count, normal):
    """Of 1,000 draws 950 should be covered; 3 standard errors are 21."""
    random, runs = np.random.default_rng(count), 1000
    draws = random.normal(size=(runs, count)) if normal else random.exponential(size=(runs, count)) - 1
    found = [estimate(values) for values in draws]
    covered = sum(own.low <= 0 <= own.high for own in found)
    resampled = draws[:, random.integers(count, size=(500, count))].mean(axis=2)
    low, high = np.quantile(resampled, (0.025, 0.975), axis=1)
    by_percentiles = ((low <= 0) & (high >= 0)).sum()
    assert covered >= (929 if normal else 915)
    assert by_percentiles < covered - 20


def test_holm_corrects_one_after_another():
    assert holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.03, 0.06, None, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@PROPERTY
@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_is_between_no_correction_and_bonferronis(values):
    corrected = holm(values)
    for p, own in zip(values, corrected, strict=True):
        assert p <= own <= min(1.0, len(values) * p) + 1e-12
    order = sorted(range(len(values)), key=lambda index: values[index])
    assert [corrected[index] for index in order] == sorted(corrected)


def test_the_replicates_that_are_needed_decide_four_times_of_five():
    values, looks, runs = [0.1, 0.5, 0.9, 0.3, 0.2], 11, 4000
    needed = replicates_needed(values, looks)
    random = np.random.default_rng(0)

    def power(count):
        draws = random.normal(np.mean(values), np.std(values, ddof=1), size=(runs, count))
        return (stats.ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05 / looks).mean()

    assert power(needed) == pytest.approx(0.8, abs=0.05)
    assert power(needed - 2) < 0.78
    assert replicates_needed([5.0, 5.1, 5.05], 1) == 4
    assert replicates_needed([0.1, -0.1, 0.0], 1) is None
    assert replicates_needed([1.0, -0.99, 0.01], 1) is None
    assert replicates_needed([5.0, 5.1], 1) is None
