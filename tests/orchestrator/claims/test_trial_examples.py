"""Examples of a trial: when each is as never trained, against a plain loop, and rank correlations against SciPy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.claims.examples import TrialExamples, rank_correlation
from orchestrator.claims.findings import FINDINGS
from orchestrator.claims.observations import observe
from tests.orchestrator.claims.test_trajectories import trajectory
from tests.support import PROPERTY

BY_NAME = {own.name: own for own in FINDINGS}


def examples_of(gen_ex, *, memorization=None, difficulty=None, rel_ex=None, tokens=None, **more):
    """Make the examples of a trial from their exposures, a row each."""
    gen_ex = np.array(gen_ex, dtype=float)
    count = len(gen_ex)
    own = trajectory(gen_ex.mean(axis=0), **more)
    exposures = {"gen_ex": gen_ex} | ({} if rel_ex is None else {"rel_ex": np.array(rel_ex, dtype=float)})
    trait = np.arange(count, dtype=float)
    return TrialExamples(
        trajectory=own,
        steps_S=own.steps_S,
        exposures=exposures,
        traits={
            "memorization": trait if memorization is None else np.array(memorization, dtype=float),
            "difficulty": -trait if difficulty is None else np.array(difficulty, dtype=float),
        },
        tokens_N=np.full(count, 8.0) if tokens is None else np.array(tokens, dtype=float),
    )


def one_by_one(exposure, steps):
    """The first passage to 0 of one example."""
    if exposure[0] <= 0:
        return 0.0
    for step in range(1, len(steps)):
        before, after = exposure[step - 1], exposure[step]
        if after <= 0:
            return steps[step - 1] + before / (before - after) * (steps[step] - steps[step - 1])
    return math.inf


@PROPERTY
@given(st.lists(st.lists(st.integers(-5, 5), min_size=4, max_size=4), min_size=1, max_size=6))
def test_times_are_first_passages(exposures):
    steps = [0, 1, 4, 6]
    own = examples_of(exposures, steps=steps)
    assert own.times("gen_ex") == pytest.approx([one_by_one(row, steps) for row in exposures])


PAIRS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=12)


@PROPERTY
@given(PAIRS)
def test_the_rank_correlation_is_spearmans(pairs):
    left, right = np.array(pairs, dtype=float).T
    found = rank_correlation(left, right)
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        assert found is None
    else:
        assert found == pytest.approx(stats.spearmanr(left, right).statistic)


def test_what_was_not_measured_is_left_out_of_ranks():
    known = rank_correlation(np.array([1.0, 2, 3]), np.array([1.0, 3, 2]))
    assert rank_correlation(np.array([1.0, 2, 9, 3]), np.array([1.0, 3, math.nan, 2])) == known
    assert rank_correlation(np.array([1.0, 2]), np.array([1.0, 2])) is None


def test_examples_that_are_never_as_never_trained_are_ties_at_the_end():
    own = examples_of([[4, 0, -4], [4, 2, 0], [4, 3, 2], [4, 3, 3]])
    (found,) = observe(BY_NAME["memorization"], "gen_ex", [], [own])
    assert found.value == pytest.approx(stats.spearmanr([1, 2, 2, 2], [0, 1, 2, 3]).statistic)
    assert (found.unreached["examples"].censored, found.unreached["examples"].of) == (2, 4)
    (turned,) = observe(BY_NAME["difficulty"], "gen_ex", [], [own])
    assert turned.value == pytest.approx(-found.value)


def test_a_trial_of_which_all_examples_are_censored_is_observed_and_tells_nothing():
    own = examples_of([[4, 3, 2], [4, 2, 1], [4, 3, 2]])
    (found,) = observe(BY_NAME["memorization"], "gen_ex", [], [own])
    assert math.isnan(found.value)
    assert math.isnan(found.reached_half)
    assert (found.unreached["examples"].censored, found.unreached["examples"].of) == (3, 3)


def test_without_the_measure_or_a_trait_nothing_is_observed():
    own = examples_of([[4, 0], [4, 2], [4, 3]], difficulty=[math.nan] * 3)
    assert observe(BY_NAME["memorization"], "rel_ex", [], [own]) == []
    assert observe(BY_NAME["difficulty"], "gen_ex", [], [own]) == []
