"""What stands beside verdicts: against own curves, least squares, SciPy, and by hand."""

import math
import sys

import numpy as np
import pytest
from scipy import stats

from orchestrator.claims.describing.agreement import agreements
from orchestrator.claims.describing.matching import matchings
from orchestrator.claims.describing.mixed_models import mixed_models
from orchestrator.claims.describing.survival import curve_tests, survival_curves
from orchestrator.claims.trajectories import Replicate
from orchestrator.errors import SweepError
from tests.orchestrator.claims.test_observations import out
from tests.orchestrator.claims.test_trajectories import trajectory
from tests.orchestrator.claims.test_trial_examples import examples_of


def falling(time, *, last=10, make=trajectory, **more):
    """A trial whose exposure is 0 at a step, or would be, evaluated at every step to the last."""
    return make([10 - 10 * step / time for step in range(last + 1)], **more)


def kaplan_meier(times, reached):
    """Survival after each distinct time of an event, by the definition."""
    curve, left = {}, 1.0
    for time in sorted({own for own, there in zip(times, reached, strict=True) if there}):
        at_risk = sum(own >= time for own in times)
        events = sum(own == time and there for own, there in zip(times, reached, strict=True))
        left *= 1 - events / at_risk
        curve[time] = left
    return curve


TIMES = [2, 3, 3, 5, 8, 25, 30]
LASTS = [10, 10, 10, 10, 10, 6, 10]


def test_the_curve_is_that_of_kaplan_and_meier():
    own = [falling(time, last=last, seed=n) for n, (time, last) in enumerate(zip(TIMES, LASTS, strict=True))]
    (found,) = survival_curves(own, "gen_ex")
    times = [min(time, last) for time, last in zip(TIMES, LASTS, strict=True)]
    reached = [time <= last for time, last in zip(TIMES, LASTS, strict=True)]
    curve = kaplan_meier(times, reached)
    assert (found.trials, found.censored, found.horizon) == (7, 2, 10)
    assert found.median == pytest.approx(next(time for time, left in curve.items() if left <= 0.5))
    knots = [0, *curve, 10]
    areas = [(b - a) * left for a, b, left in zip(knots, knots[1:], [1.0, *curve.values()], strict=False)]
    assert found.restricted_mean == pytest.approx(sum(areas))


def test_half_that_never_get_there_have_no_median():
    (found,) = survival_curves([falling(time, seed=time) for time in (4, 30, 40)], "gen_ex")
    assert (found.median, found.median_high, found.censored) == (None, None, 2)


def test_two_curves_are_tested_at_equal_settings_only():
    pairs = [
        own for n, time in enumerate(TIMES) for own in (falling(time, seed=n), falling(2 * time, seed=n, make=out))
    ]
    (test,) = curve_tests([*pairs, falling(4, setting_id="alone")], "gen_ex")
    (same,) = curve_tests(pairs, "gen_ex")
    assert (test.within, test.out, test.p) == ("verses", "people", same.p)
    assert 0 < test.p < 1
    assert curve_tests([falling(4)], "gen_ex") == []


@pytest.mark.parametrize("function", [survival_curves, curve_tests, mixed_models])
def test_without_the_extra_it_is_said_what_to_install(function, monkeypatch):
    for name in ("lifelines", "lifelines.statistics", "statsmodels", "statsmodels.regression.mixed_linear_model"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SweepError, match=r"pip install 'unlearn-sweep\[claims\]'"):
        function([], "gen_ex")


def linear(replicate, slope, *, noise, random, setting="s"):
    """Examples of a trial that take 2 ** (3 + slope * memorization) steps, but for noise."""
    memorization = np.linspace(-1, 1, 12)
    times = 2 ** (3 + slope * memorization + noise * random.normal(size=12))
    steps = np.arange(0, 65)
    exposure = 10 * (1 - steps / times[:, None])
    return examples_of(exposure, memorization=memorization, replicate=Replicate("a", replicate), setting_id=setting)


def test_the_slope_of_the_mixed_model_is_least_squares_where_replicates_are_balanced():
    random = np.random.default_rng(0)
    own = [linear(r, 0.5 + 0.2 * random.normal(), noise=0.2, random=random) for r in range(5)]
    found = {model.trait: model for model in mixed_models(own, "gen_ex")}["memorization"]
    steps = np.log2(np.concatenate([one.times("gen_ex") for one in own]))
    trait = np.concatenate([one.traits["memorization"] for one in own])
    design = np.column_stack([np.ones(len(trait)), trait])
    expected = np.linalg.lstsq(design, steps, rcond=None)[0][1]
    assert math.log2(found.factor) == pytest.approx(expected, abs=1e-3)
    assert found.low < found.factor < found.high
    assert (found.examples, found.replicates, found.censored) == (60, 5, 0)
    by_replicate = [np.polyfit(one.traits["memorization"], np.log2(one.times("gen_ex")), 1)[0] for one in own]
    error = np.std(by_replicate, ddof=1) / math.sqrt(5)
    assert math.log2(found.high / found.low) == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_settings_do_not_enter_the_slope_and_too_few_replicates_have_none():
    random = np.random.default_rng(1)
    own = [linear(r, 0.5, noise=0.1, random=random, setting=str(r % 2)) for r in range(4)]
    shifted = [
        one if one.trajectory.setting_id == "0" else
        examples_of(one.exposures["gen_ex"], memorization=one.traits["memorization"] + 5, setting_id="1",
                    replicate=one.trajectory.replicate)
        for one in own
    ]  # fmt: skip
    left, right = (mixed_models(group, "gen_ex")[0].factor for group in (own, shifted))
    assert left == pytest.approx(right, rel=1e-3)
    assert mixed_models(own[:2], "gen_ex") == []


def test_measures_agree_by_ranks_of_examples_before_and_after():
    gen = [[10, 0], [8, 2], [9, -1], [7, -3]]
    rel = [[6, 1.0], [5, 2.0], [4, 1.6], [3, 1.2]]
    own = examples_of(gen, rel_ex=rel, memorization=[4, 3, 2, 1])
    found = {one.quantity: one.estimate.mean for one in agreements([], [own])}
    assert found["before"] == pytest.approx(stats.spearmanr([10, 8, 9, 7], [6, 5, 4, 3]).statistic)
    assert found["after"] == pytest.approx(stats.spearmanr([0, 2, -1, -3], [1.0, 2.0, 1.6, 1.2]).statistic)
    assert found["only_gen_ex"] == 1 / 4  # the third, whose RelEx is still above 1.44
    assert found["only_rel_ex"] == 0
    assert found["only_gen_ex_memorized"] == 0


def test_they_part_where_one_of_them_sits_at_its_ceiling():
    own = examples_of([[10, -1]] * 3, rel_ex=[[6, 6.0], [6, 1.0], [6, 1.0]], memorization=[9, 1, 1])
    found = {one.quantity: one.estimate.mean for one in agreements([], [own])}
    assert found["only_gen_ex"] == pytest.approx(1 / 3)
    assert found["only_gen_ex_memorized"] == 1


def test_settings_are_ranked_by_their_times_by_both():
    own = []
    for number, (time, other) in enumerate([(2, 3), (4, 5), (6, 4)]):
        one = falling(time, setting_id=str(number))
        one.exposures["rel_ex"][:] = 5 - (5 - 1.44) * one.steps_S / other
        own.append(one)
    (found,) = agreements(own, [])
    assert (found.quantity, found.forget_set) == ("settings", "verses")
    assert found.estimate.mean == pytest.approx(stats.spearmanr([2, 4, 6], [3, 5, 4]).statistic)
    assert agreements(own[:2], []) == []


def test_what_was_not_matched_before_unlearning_is_named():
    inside, other = trajectory([10, 0]), out([10.5, 0])
    examples = [
        examples_of([[10, 0]] * 4, tokens=[8, 8, 8, 8]),
        examples_of([[10.5, 0]] * 2, tokens=[20, 20], forget_set="people", distribution="out"),
    ]
    found = {own.quantity: own for own in matchings([inside, other], examples, "gen_ex", tolerance=0.1)}
    assert {name: own.matched for name, own in found.items()} == {
        "mean GenEx": True, "length": False, "whole set": False,
    }  # fmt: skip
    assert str(found["length"]) == "length 8 against 20 tokens"
    assert (found["whole set"].within, found["whole set"].out) == (32, 40)
    assert matchings([inside], examples, "gen_ex", tolerance=0.1) == []
    strict = {own.quantity: own for own in matchings([inside, other], examples, "gen_ex", tolerance=0.04)}
    assert not strict["mean GenEx"].matched


def test_what_is_matched_on_average_says_how_far_single_replicates_are_apart():
    sets = []
    for number, (left, right) in enumerate([(10, 8), (10, 12)]):
        replicate = Replicate("a", number)
        sets += [trajectory([left, 0], replicate=replicate), out([right, 0], replicate=replicate)]
    (found,) = matchings(sets, [], "gen_ex", tolerance=0.1)
    assert found.matched
    assert str(found) == "mean GenEx 10 against 10 bits (in single replicates 0.80 to 1.20 times)"
