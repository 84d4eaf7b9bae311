"""What is observed of each finding: from contrasts at equal settings, with what is not reached as censored."""

import math
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.claims.findings import FINDINGS
from orchestrator.claims.observations import observe, pairs_of
from orchestrator.claims.trajectories import Replicate
from tests.orchestrator.claims.test_trajectories import trajectory

BY_NAME = {own.name: own for own in FINDINGS}
FALL = [10, 5, 0, -5, -10]
"""As never trained at step 2."""
SLOW = [10, 8, 6, 4, 2]
"""Never, within the axis."""


def out(exposure, losses=None, **more):
    return trajectory(exposure, losses, forget_set="people", distribution="out", **more)


def only(name, *trajectories):
    (found,) = observe(BY_NAME[name], "gen_ex", trajectories, [])
    return found


def test_every_finding_has_a_sentence_an_estimand_and_a_name_of_its_own():
    assert len(BY_NAME) == len(FINDINGS) == len({own.claim for own in FINDINGS}) == len({o.estimand for o in FINDINGS})
    assert {own.letter for own in FINDINGS} == set("abcd")
    assert all(own.sentence and own.unit for own in FINDINGS)


def test_trials_are_paired_at_equal_settings_seeds_and_replicates_only():
    mine = trajectory(FALL)
    others = [
        out(FALL), out(FALL, setting_id="other"), out(FALL, seed=1), out(FALL, replicate=Replicate("a", 1)),
        out(FALL, sweep="other"), trajectory(FALL, forget_set="psalms"),
    ]  # fmt: skip
    found = pairs_of([mine, *others])
    assert [(pair.within, pair.out) for pair in found] == [(mine, others[0]), (others[-1], others[0])]
    assert [pair.sets for pair in found] == ["verses against people", "psalms against people"]


def test_a_third_of_a_set_is_paired_with_the_same_third_of_another_only():
    def of(make, bucket, **more):
        return make(FALL, labels={**trajectory(FALL).labels, "bucket": bucket}, **more)

    whole, low, high = trajectory(FALL), of(trajectory, "memorization low"), of(trajectory, "memorization high")
    others = [out(FALL), of(out, "memorization low"), of(out, "difficulty low")]
    assert [(pair.within, pair.out) for pair in pairs_of([whole, low, high, *others])] == [
        (whole, others[0]), (low, others[1])
    ]  # fmt: skip


def censored(found):
    return {side: (own.censored, own.of) for side, own in found.unreached.items()}


def test_steps_are_a_ratio_of_restricted_times():
    found = only("steps", trajectory(FALL), out([10, 9, 8, 4, -4]))
    assert 2**found.value == pytest.approx(3.5 / 2)
    assert found.sides == pytest.approx({"in": 2.0, "out": 3.5})
    assert censored(found) == {"in": (0, 1), "out": (0, 1)}


def test_what_is_not_reached_is_censored_at_the_end_of_the_axis_and_not_dropped():
    found = only("steps", trajectory(FALL), out(SLOW))
    assert 2**found.value == pytest.approx(4 / 2)
    assert censored(found) == {"in": (0, 1), "out": (1, 1)}


def test_both_sides_are_followed_equally_far():
    """In was stopped at step 1: beyond it nothing is known of either."""
    found = only("steps", trajectory([10, 5]), out(FALL))
    assert found.value == 0
    assert censored(found) == {"in": (1, 1), "out": (1, 1)}


def test_a_collapse_is_known_to_get_nowhere():
    found = only("steps", trajectory([10, 5], followed_until=4.0), out(FALL))
    assert 2**found.value == pytest.approx(2 / 4)
    assert censored(found) == {"in": (1, 1), "out": (0, 1)}


def test_a_time_below_one_step_counts_as_one():
    found = only("steps", trajectory([1, -9, -19]), out([5, 0, -5]))
    assert found.sides == pytest.approx({"in": 0.1, "out": 1.0})
    assert found.value == 0


def test_the_price_is_what_in_loses_more_where_both_are_as_never_trained():
    found = only("price_heldout", trajectory(FALL, [0, 0.2, 0.5, 1, 2]), out(FALL, [0, 0.1, 0.3, 1, 2]))
    assert found.value == pytest.approx(0.2)
    assert found.sides == pytest.approx({"in": 0.5, "out": 0.3})


def test_where_one_never_gets_there_prices_are_compared_at_the_share_that_both_remove():
    """Out removes 80 %, which in has after 1.6 steps."""
    found = only("price_retained", trajectory(FALL, [0, 1, 2, 3, 4]), out(SLOW, [0, 0.1, 0.2, 0.3, 0.4]))
    assert found.value == pytest.approx(1.6 - 0.4)
    assert censored(found) == {"in": (0, 1), "out": (1, 1)}


def test_a_kind_of_cost_that_one_side_lacks_is_not_observed():
    lacking = out(FALL)
    lacking = replace(lacking, losses={**lacking.losses, "retained": np.full(5, math.nan)})
    for name in ("price_retained", "area_retained"):
        assert observe(BY_NAME[name], "gen_ex", [trajectory(FALL), lacking], []) == []
    assert only("price_heldout", trajectory(FALL), lacking)


def test_the_area_is_between_the_curves_of_loss_against_removed_exposure():
    inside, other = trajectory([10, 7, 3, 0], [0, 0.5, 0.7, 2]), out([20, 9, 5, 0], [0, 0.1, 0.2, 0.9])
    shares = np.linspace(0, 1, 20_001)
    curve_in = np.interp(shares, [0, 0.3, 0.7, 1], [0, 0.5, 0.7, 2])
    curve_out = np.interp(shares, [0, 0.55, 0.75, 1], [0, 0.1, 0.2, 0.9])
    expected = np.trapezoid(curve_in - curve_out, shares)
    assert only("area_heldout", inside, other).value == pytest.approx(expected, abs=1e-3)


def test_performance_decays_by_the_slope_of_loss_against_steps():
    inside, other = trajectory(FALL, [0, 3, 6, 9, 12]), out(FALL, [0, 1, 2, 3, 4])
    assert only("decay", inside, other).value == pytest.approx(3)
    assert only("decay_faster", inside, other).value == pytest.approx((3 - 1) / (3 + 1))


def test_decay_is_compared_over_the_steps_that_both_were_measured_at():
    inside, other = trajectory(FALL[:3], [0, 3, 6]), out(FALL, [0, 1, 2, 90, 900])
    assert only("decay_faster", inside, other).value == pytest.approx(0.5)


def test_half_of_the_axis_is_observed_too():
    found = only("steps", trajectory(FALL, steps=[0, 1, 3, 4, 8]), out(SLOW, steps=[0, 1, 3, 4, 8]))
    assert (2**found.value, 2**found.reached_half) == pytest.approx((8 / 3, 4 / 3))


def test_conditions_of_two_trials_are_joined_where_they_differ():
    inside = trajectory(FALL)
    other = out(FALL, labels={**inside.labels, "repetitions": "2", "canary": "personal_data"})
    labels = only("steps", inside, other).labels
    assert labels["repetitions"] == "1 against 2"
    assert labels["canary"] == "personal_data"
    assert labels["optimizer"] == "sgd"
