"""Effects over replicates, and verdicts on them: all together and under each condition."""

import random
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.claims.deciding import EXPOSURE, Verdict, decide, decide_by_condition
from orchestrator.claims.effects import effect_of
from orchestrator.claims.findings import FINDINGS
from orchestrator.claims.observations import Observation, Unreached
from orchestrator.claims.trajectories import Replicate

BY_NAME = {own.name: own for own in FINDINGS}
PRICE, STEPS = BY_NAME["price_heldout"], BY_NAME["steps"]
ABOVE = [1.0, 1.1, 0.9, 1.05, 0.95]


def seen(value, replicate=0, *, setting="s", sets="verses against people", unreached=(0, 0), half=None, **labels):
    missing = dict(zip(("in", "out"), unreached, strict=True))
    return Observation(
        replicate=Replicate("a", replicate),
        sets=sets,
        setting_id=setting,
        labels={"optimizer": "adamw", "batch size": "4", "canary": "", "repetitions": "1", "model": "m"} | labels,
        value=value,
        sides={"in": value, "out": 0.0},
        unreached={side: Unreached(f"{side} {replicate} {setting}", count, 1) for side, count in missing.items()},
        reached_half=value if half is None else half,
    )


def decided(values, finding=PRICE, **more):
    observations = [seen(value, number, **more) for number, value in enumerate(values)]
    (found,) = decide([finding], "gen_ex", {(finding.name, "gen_ex"): observations})
    return found


def test_a_replicates_number_is_the_mean_over_settings_of_the_mean_over_seeds():
    observations = [seen(1.0), seen(3.0), seen(10.0, setting="other")]
    effect = effect_of(PRICE, "gen_ex", observations)
    assert list(effect.values.values()) == [(2 + 10) / 2]
    assert (effect.contrasts, effect.settings) == (3, 2)


def test_slopes_have_the_median_over_settings():
    observations = [seen(value, setting=str(value)) for value in (1.0, 2.0, 900.0)]
    assert list(effect_of(BY_NAME["decay"], "gen_ex", observations).values.values()) == [2.0]


def test_settings_that_not_every_replicate_has_are_left_out():
    observations = [seen(1.0), seen(5.0, setting="other"), seen(2.0, 1), seen(3.0, 2), seen(9.0, 2, setting="third")]
    effect = effect_of(PRICE, "gen_ex", observations)
    assert list(effect.values.values()) == [1, 2, 3]
    assert (effect.contrasts, effect.settings, effect.left_out) == (3, 1, 2)


def test_where_no_setting_is_shared_each_replicate_keeps_its_own():
    observations = [seen(float(number), number, setting=str(number)) for number in range(3)]
    effect = effect_of(PRICE, "gen_ex", observations)
    assert list(effect.values.values()) == [0, 1, 2]
    assert effect.left_out == 0


def test_the_order_of_observations_changes_nothing():
    observations = [seen(0.1 * n + k, n, setting=str(k)) for n in range(5) for k in range(3) for _ in range(2)]
    shuffled = random.Random(0).sample(observations, len(observations))
    assert effect_of(PRICE, "gen_ex", shuffled) == effect_of(PRICE, "gen_ex", observations)
    assert effect_of(PRICE, "gen_ex", []) is None


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        (ABOVE, Verdict.SUPPORTED),
        ([-value for value in ABOVE], Verdict.CONTRADICTED),
        ([1.0, -1.1, 0.9, -1.05, 0.95], Verdict.NOT_DECIDED),
    ],
)
def test_a_finding_is_supported_contradicted_or_not_decided(values, verdict):
    found = decided(values)
    assert found.verdict is verdict
    assert bool(found.reason) == (verdict is Verdict.NOT_DECIDED)
    assert found.mean == pytest.approx(np.mean(values))


def test_an_effect_on_either_side_supports_that_there_is_one():
    for sign in (1, -1):
        assert decided([sign * value / 2 for value in ABOVE], BY_NAME["difficulty"]).verdict is Verdict.SUPPORTED


def test_a_ratio_is_shown_as_a_factor():
    found = decided(ABOVE, STEPS)
    assert found.mean == pytest.approx(2.0)
    low, high = found.interval
    assert 1 < low < 2 < high
    assert found.as_json()["by_replicate"] == pytest.approx([2**value for value in ABOVE])
    assert found.as_json()["null"] == 1


@pytest.mark.parametrize(("count", "more"), [(1, 2), (2, 1)])
def test_with_fewer_than_three_replicates_nothing_is_ever_decided(count, more):
    found = decided([100.0, 101.0][:count])
    assert (found.verdict, found.interval, found.more_replicates) == (Verdict.NOT_DECIDED, None, more)
    assert f"at least {more} more" in found.reason


def test_one_replicate_several_times_decides_nothing():
    found = decided([1.0, 1.0, 1.00001, 1.0, 1.0])
    assert found.verdict is Verdict.NOT_DECIDED
    assert "the same number" in found.reason


def test_what_is_not_decided_says_how_many_more_replicates_would():
    found = decided([1.0, -0.4, 0.9, 0.1, 0.6])
    assert found.verdict is Verdict.NOT_DECIDED
    assert found.more_replicates > 0
    assert f"about {found.more_replicates} more replicates would" in found.reason


def test_where_most_contrasts_end_before_anything_is_reached_the_axis_decides_nothing():
    assert decided(ABOVE, unreached=(1, 1)).verdict is Verdict.NOT_DECIDED
    assert "a longer axis" in decided(ABOVE, unreached=(1, 1)).reason
    assert decided(ABOVE, unreached=(0, 1)).verdict is Verdict.SUPPORTED


def test_replicates_that_are_alike_since_nothing_is_reached_ask_for_a_longer_axis():
    found = decided([0.0] * 5, unreached=(1, 1))
    assert (found.verdict, found.brief) == (Verdict.NOT_DECIDED, "censored")
    assert "a longer axis" in found.reason


def test_the_replicates_that_are_missing_are_counted_for_the_looks_that_the_correction_leaves():
    """By Holm the last look is not corrected, so that fewer replicates decide it than if it were the first of many."""
    clear = {f.name: [seen(value, number) for number, value in enumerate(ABOVE)] for f in FINDINGS[1:]}
    open_values = [1.0, -0.4, 0.9, 0.1, 0.6]
    unsure = {FINDINGS[0].name: [seen(value, number) for number, value in enumerate(open_values)]}
    observed = {(name, "gen_ex"): own for name, own in {**clear, **unsure}.items()}
    last = decide(FINDINGS, "gen_ex", observed)[0]
    assert last.more_replicates == decided(open_values, FINDINGS[0]).more_replicates
    everywhere = {(f.name, "gen_ex"): unsure[FINDINGS[0].name] for f in FINDINGS}
    assert decide(FINDINGS, "gen_ex", everywhere)[0].more_replicates > last.more_replicates


def test_a_verdict_that_turns_with_the_end_of_the_axis_is_none():
    observations = [seen(value, number, half=-value, unreached=(0, 1)) for number, value in enumerate(ABOVE)]
    (found,) = decide([PRICE], "gen_ex", {(PRICE.name, "gen_ex"): observations})
    assert found.verdict is Verdict.NOT_DECIDED
    assert "half of its steps" in found.reason
    reached = [
        replace(own, unreached={side: one._replace(censored=0) for side, one in own.unreached.items()})
        for own in observations
    ]
    (found,) = decide([PRICE], "gen_ex", {(PRICE.name, "gen_ex"): reached})
    assert found.verdict is Verdict.SUPPORTED, "the end of the axis is no part of it"
    barely = [replace(own, reached_half=-0.01 * (own.value - 0.98)) for own in observations]
    (found,) = decide([PRICE], "gen_ex", {(PRICE.name, "gen_ex"): barely})
    assert found.verdict is Verdict.SUPPORTED


def test_a_verdict_needs_an_interval_without_no_effect_however_small_p_is():
    found = decided([1.2, 1.6, 1.4, 0.7, 0.4])
    assert found.corrected_p < 0.01
    assert found.interval[0] < 0 < found.interval[1]
    assert found.verdict is Verdict.NOT_DECIDED
    assert "the interval includes 'no effect'" in found.reason


def test_a_verdict_needs_a_p_that_stands_the_correction():
    barely = [1.0, 0.3, 0.8, -0.1, 0.9, 0.5, 0.1]
    noise = [1.0, -1.1, 0.9, -1.05, 0.95, 0.1, -0.2]
    observed = {
        (own.name, "gen_ex"): [seen(value, n) for n, value in enumerate(barely if own.name == PRICE.name else noise)]
        for own in FINDINGS
    }
    alone = decided(barely)
    together = {own.finding.name: own for own in decide(FINDINGS, "gen_ex", observed)}[PRICE.name]
    assert alone.verdict is Verdict.SUPPORTED
    assert together.interval == alone.interval
    assert together.verdict is Verdict.NOT_DECIDED
    assert f"too uncertain for one of {len(FINDINGS)} looks" in together.reason


def test_looks_are_corrected_for_and_those_without_a_p_do_not_count():
    barely = [1.0, 0.3, 0.8, 0.2, 0.9, 0.5, 0.6]
    alone = decided(barely)
    names = [own.name for own in FINDINGS]
    noise = [1.0, -1.1, 0.9, -1.05, 0.95, 0.1, -0.2]
    observed = {
        (name, "gen_ex"): [seen(value, number) for number, value in enumerate(barely if name == PRICE.name else noise)]
        for name in names
    }
    together = {own.finding.name: own for own in decide(FINDINGS, "gen_ex", observed)}[PRICE.name]
    assert alone.corrected_p == pytest.approx(together.effect.estimate.p)
    assert together.corrected_p == pytest.approx(len(names) * together.effect.estimate.p)
    few = {key: own if key[0] == PRICE.name else own[:2] for key, own in observed.items()}
    still = {own.finding.name: own for own in decide(FINDINGS, "gen_ex", few)}[PRICE.name]
    assert still.corrected_p == pytest.approx(alone.corrected_p)


def by_condition(observations, measures=("gen_ex",), other=()):
    observed = {(own.name, measure): [] for own in FINDINGS for measure in ("gen_ex", "rel_ex")}
    observed[PRICE.name, "gen_ex"], observed[PRICE.name, "rel_ex"] = observations, list(other)
    return decide_by_condition(FINDINGS, "gen_ex", observed, measures)


def test_findings_are_judged_again_under_each_condition():
    observations = [
        seen(sign * value, number, setting=optimizer, optimizer=optimizer)
        for number, value in enumerate(ABOVE)
        for optimizer, sign in (("adamw", 1), ("plain sgd", -1))
    ]
    found = {own.condition: own.verdict for own in by_condition(observations)}
    assert found == {
        ("optimizer", "adamw"): Verdict.SUPPORTED,
        ("optimizer", "plain sgd"): Verdict.CONTRADICTED,
    }


def test_dimensions_that_divide_alike_are_shown_once_and_numbers_are_ordered_as_such():
    observations = [
        seen(value, number, sets=name, canary=name, **{"batch size": size})
        for number, value in enumerate(ABOVE)
        for name in ("verses against people", "verses against noise")
        for size in ("4", "16")
    ]
    conditions = [own.condition for own in by_condition(observations)]
    assert conditions == [
        ("batch size", "4"), ("batch size", "16"),
        ("forget sets", "verses against noise"), ("forget sets", "verses against people"),
    ]  # fmt: skip


def test_measures_of_exposure_are_conditions_where_both_were_measured():
    observations = [seen(value, number) for number, value in enumerate(ABOVE)]
    other = [seen(-value, number) for number, value in enumerate(ABOVE)]
    found = by_condition(observations, ("gen_ex", "rel_ex"), other)
    assert {own.condition: own.verdict for own in found} == {
        (EXPOSURE, "gen_ex"): Verdict.SUPPORTED, (EXPOSURE, "rel_ex"): Verdict.CONTRADICTED,
    }  # fmt: skip
    assert by_condition(observations, ("gen_ex",), other) == []
