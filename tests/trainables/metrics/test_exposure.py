"""Exposures against pure Python in float64, brute-force ranks, integrated densities and pair counts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from tests.support import PROPERTY
from trainables.metrics import EXPECTED_RELATIVE_EXPOSURE_BITS
from trainables.metrics.exposure import (
    generalized_exposure,
    log_mean_likelihood,
    membership_auc,
    relative_exposure,
    relative_exposure_skew_normal,
)

COARSE = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=12)  # few values, so that there are ties


def test_generalized_exposure_is_the_ratio_of_mean_likelihoods():
    unlearned = np.array([[-3.0, -0.5], [-4.0, -7.0]])
    references = np.array([[-5.0, -1.0], [-6.0, -2.0], [-5.5, -0.1]])
    for example in range(2):
        mean_unlearned = sum(math.exp(v) for v in unlearned[:, example]) / 2
        mean_references = sum(math.exp(v) for v in references[:, example]) / 3
        expected = math.log2(mean_unlearned) - math.log2(mean_references)
        assert generalized_exposure(unlearned, references)[example] == pytest.approx(expected, rel=1e-12)


def test_generalized_exposure_is_in_bits():
    assert generalized_exposure(np.array([[math.log(8.0)]]), np.array([[0.0]])).tolist() == pytest.approx([3.0])


def test_generalized_exposure_of_the_references_themselves_is_zero():
    references = np.array([[-5.0, -5000.0], [-6.0, -4990.0]])
    assert generalized_exposure(references, references).tolist() == [0.0, 0.0]


def test_generalized_exposure_does_not_underflow():
    found = generalized_exposure(np.array([[-5000.0]]), np.array([[-5010.0], [-5010.0]]))
    assert found[0] == pytest.approx(10 / math.log(2), rel=1e-9)


def test_log_mean_likelihood_is_float64_even_of_float32():
    found = log_mean_likelihood(np.array([[-5000.25], [-5000.25]], dtype=np.float32))
    assert found.dtype == np.float64
    assert found[0] == pytest.approx(-5000.25, abs=1e-9)


def brute_force_rank(nll, population):
    """Mean 1-based position of x among itself and the population, over every order that ties allow."""
    lower, equal = sum(p < nll for p in population), sum(p == nll for p in population)
    places = [lower + 1 + k for k in range(equal + 1)]
    return sum(places) / len(places)


@PROPERTY
@given(forget=COARSE, population=COARSE)
def test_relative_exposure_is_by_mean_rank(forget, population):
    expected = [math.log2(len(population)) - math.log2(brute_force_rank(x, population)) for x in forget]
    np.testing.assert_allclose(relative_exposure(np.array(forget), np.array(population)), expected, atol=1e-12)


@PROPERTY
@given(population=COARSE, values=st.lists(st.floats(-1, 7), min_size=2, max_size=10))
def test_relative_exposure_never_grows_with_the_loss(population, values):
    found = relative_exposure(np.sort(values), np.array(population))
    assert (np.diff(found) <= 0).all()


def test_relative_exposure_of_the_most_likely_is_log2_of_the_population():
    population = np.linspace(1, 2, 64)
    assert relative_exposure(np.array([0.5, 3.0]), population).tolist() == [6.0, 6.0 - math.log2(65)]


def test_expected_relative_exposure_of_an_unseen_example_tends_to_log2_e():
    for size, tolerance in ((100, 0.1), (10_000, 0.002)):
        population = np.arange(size) + 0.5
        every_rank = relative_exposure(
            np.arange(size + 1.0), population
        )  # an unseen example takes each with equal odds
        assert every_rank.mean() == pytest.approx(math.log2(math.e), abs=tolerance)
    assert pytest.approx(1.442695, abs=1e-6) == EXPECTED_RELATIVE_EXPOSURE_BITS


def test_simulated_relative_exposure_of_unseen_examples_is_log2_e():
    random = np.random.default_rng(0)
    draws = [relative_exposure(random.gamma(2, size=20), random.gamma(2, size=500)).mean() for _ in range(100)]
    standard_error = np.std(draws) / 10
    assert abs(np.mean(draws) - EXPECTED_RELATIVE_EXPOSURE_BITS) < 4 * standard_error + 0.02


def moments_fit(population):
    """Skew-normal by the method of moments, from its textbook formulas."""
    skew = ((population - population.mean()) ** 3).mean() / population.std() ** 3
    two_thirds = abs(skew) ** (2 / 3)
    delta = np.sign(skew) * math.sqrt(math.pi / 2 * two_thirds / (two_thirds + ((4 - math.pi) / 2) ** (2 / 3)))
    scale = population.std() / math.sqrt(1 - 2 * delta**2 / math.pi)
    return delta / math.sqrt(1 - delta**2), population.mean() - scale * delta * math.sqrt(2 / math.pi), scale


@pytest.mark.parametrize("sign", [1, -1])
def test_skew_normal_exposure_is_the_integrated_density(sign):
    population = 5 + sign * np.random.default_rng(1).beta(2, 4, size=300)
    shape, location, scale = moments_fit(population)

    def density(nll):
        z = (nll - location) / scale
        return math.exp(-z * z / 2) / math.sqrt(2 * math.pi) * math.erfc(-shape * z / math.sqrt(2)) / scale

    points = np.quantile(population, [0.01, 0.2, 0.5, 0.9])
    expected = [-math.log2(quad(density, location - 12 * scale, x, limit=200)[0]) for x in points]
    np.testing.assert_allclose(relative_exposure_skew_normal(points, population), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("draw", ["normal", "left_skewed", "right_skewed", "very_left_skewed", "very_right_skewed"])
def test_skew_normal_exposure_is_finite_monotone_and_one_bit_near_the_median(draw):
    random = np.random.default_rng(2)
    population = {
        "normal": random.normal(5, 0.5, 200),
        "left_skewed": 5 - random.beta(2, 5, 200),
        "right_skewed": 5 + random.beta(2, 5, 200),
        "very_left_skewed": 9 - random.exponential(1, 200),  # more skewed than any skew-normal: its limit is fitted
        "very_right_skewed": 2 + random.exponential(1, 200),
    }[draw]
    points = np.linspace(-50, 60, 120)
    found = relative_exposure_skew_normal(points, population)
    assert np.isfinite(found).all()
    assert (np.diff(found) <= 1e-9).all()
    assert found[0] > math.log2(len(population))  # it goes on beyond the rank's ceiling
    assert found[-1] == pytest.approx(0.0, abs=1e-6)
    assert relative_exposure_skew_normal([np.median(population)], population)[0] == pytest.approx(1.0, abs=0.5)


def test_a_population_without_spread_has_all_or_nothing():
    assert relative_exposure_skew_normal(np.array([1.0, 3.0, 4.0]), np.full(5, 3.0)).tolist() == [1074.0, 0.0, 0.0]


@PROPERTY
@given(forget=COARSE, population=COARSE)
def test_membership_auc_is_the_share_of_pairs_won(forget, population):
    wins = sum((f < p) + 0.5 * (f == p) for f in forget for p in population)
    found = membership_auc(np.array(forget), np.array(population))
    assert found == pytest.approx(wins / (len(forget) * len(population)), abs=1e-12)
