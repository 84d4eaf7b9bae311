"""Trials and examples as they are read from the tables of a sweep."""

import math

import numpy as np
import pytest

from orchestrator.claims.reading import EVALUATION_COLUMNS, EXAMPLE_COLUMNS, SetFacts, SweepTables, trajectories_of
from orchestrator.claims.reading import examples_of as read_examples
from orchestrator.ledger import EVALUATIONS, EXAMPLES, to_table
from orchestrator.ledger.schema import TRIALS
from trainables.metrics import EXPECTED_RELATIVE_EXPOSURE_BITS

SETS = {
    "verses": SetFacts(distribution="in", canary="", repetitions="1"),
    "people": SetFacts(distribution="out", canary="personal_data", repetitions="2"),
}


def row(step, *, trial_id="t", gen_ex=None, loss=0.0, status="completed", **more):
    return {
        "trial_id": trial_id, "step": step, "status": status, "forget_set": "verses", "distribution": "in", "seed": 3,
        "objective": "gradient_ascent", "optimizer": "adamw", "learning_rate": 0.1, "batch_size": 4,
        "settings": "gradient_ascent · adamw lr=0.1 · batch 4", "setting_id": "abc",
        "gen_ex": 10.0 - step if gen_ex is None else gen_ex, "performance": 3.0 + loss,
        "heldout_nll": 3.0 + loss, "replicate": 0, "population_nll": 2.0 + loss,
        "retain_nll": 1.0 + loss, **more,
    }  # fmt: skip


def tables(rows, *, status="completed", examples=(), baselines=(), replicates=None):
    statuses = {own["trial_id"]: {"trial_id": own["trial_id"], "status": status} for own in rows}
    numbered = zip(rows, replicates or [0] * len(rows), strict=True)
    evaluations = to_table(EVALUATIONS, [{**own, "replicate": number} for own, number in numbered])
    return SweepTables(
        sweep="sweep",
        trials=to_table(TRIALS, statuses.values()),
        evaluations=evaluations,
        examples=to_table(EXAMPLES, examples),
        baselines=baselines,
        sets=SETS,
        last_step=50,
        performance_floor=3.0,
        draws="d",
        matched_within=0.1,
        data="d",
        model="m",
    )


def only(rows, **options):
    (found,) = trajectories_of(tables(rows, **options))
    return found


def test_rows_in_any_order_are_a_path_from_the_base_model_on():
    own = only([row(4, loss=0.4), row(0), row(2, loss=0.1)])
    assert own.steps_S.tolist() == [0, 2, 4]
    assert own.exposures["gen_ex"].tolist() == [10, 8, 6]
    assert own.losses["heldout"] == pytest.approx([0, 0.1, 0.4])
    assert own.losses["never_trained"] == pytest.approx([0, 0.1, 0.4])
    assert (own.replicate.number, own.seed, own.setting_id, own.followed_until) == (0, 3, "abc", 4)


def test_the_base_models_row_of_the_baselines_stands_in_for_step_0():
    base = {"model": "base", "forget_set": "verses", "replicate": 0, "gen_ex": 12.0, "performance": 2.5}
    base["heldout_nll"] = base["performance"]
    own = only([row(2, loss=0.1)], baselines=[base])
    assert own.steps_S.tolist() == [0, 2]
    assert own.exposures["gen_ex"].tolist() == [12, 8]
    assert own.losses["heldout"] == pytest.approx([0, 0.6])
    assert np.isnan(own.losses["never_trained"]).all()
    assert trajectories_of(tables([row(2)])) == []


def test_replicates_are_told_apart_where_there_are_any():
    rows = [row(0, trial_id="a"), row(0, trial_id="b"), row(0, trial_id="c")]
    found = trajectories_of(tables(rows, replicates=[4, 1, 0]))
    assert [own.replicate.number for own in found] == [4, 1, 0]


def reference(number, *, forget_set="verses", replicate=0, nll=9.0, rel_ex=9.0):
    own = {"model": f"reference-{number}", "forget_set": forget_set, "replicate": replicate}
    return {**own, "forget_nll": nll, "gen_ex": None, "rel_ex": rel_ex}


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_as_never_trained_is_the_references_mean_against_all_of_them(count):
    """By a slow oracle: the mean GenEx of each reference against all, from log p of every example."""
    random = np.random.default_rng(count)
    tokens_N = np.array([3, 7, 5])
    logp_RN = -random.uniform(1, 4, (count, 3)) * tokens_N
    mean_N = np.log(np.exp(logp_RN).mean(axis=0))
    expected = float(((logp_RN - mean_N) / math.log(2)).mean())
    examples = [
        example(0, f"x{index}", 4.0, num_tokens=int(tokens), difficulty=float(-mean / tokens), trial_id=trial)
        for trial in ("t", "u")  # every trial of the set repeats them
        for index, (tokens, mean) in enumerate(zip(tokens_N, mean_N, strict=True))
    ]
    others = [reference(0, replicate=1), reference(0, forget_set="people")]
    baselines = [
        *(
            reference(own, nll=float(-logp_N.sum() / tokens_N.sum()), rel_ex=1.0 + own)
            for own, logp_N in enumerate(logp_RN)
        ),
        *others,
    ]
    levels = only([row(0)], baselines=baselines, examples=examples).levels
    assert levels["gen_ex"] == pytest.approx(expected)
    assert (expected < -0.1) == (count > 1), "a log-mean is above the mean of logs"
    assert levels["rel_ex"] == (1.0 + (count - 1) / 2 if count > 1 else EXPECTED_RELATIVE_EXPOSURE_BITS)


def test_without_references_theory_stands_in():
    assert only([row(0)]).levels == {"gen_ex": 0, "rel_ex": EXPECTED_RELATIVE_EXPOSURE_BITS}


def test_the_slope_is_of_the_loss_that_is_shown_and_not_of_the_part_that_chooses():
    own = only([row(0), row(2, heldout_nll=3.5, performance=9.0), row(4, heldout_nll=4.0, performance=9.0)])
    assert own.decay_S == pytest.approx([0, 0.5, 1.0])


def test_what_collapsed_is_no_result_but_counts_as_decay_up_to_the_floor():
    own = only([row(0), row(2, loss=1.0), row(4, gen_ex=-90.0, loss=470.0, status="collapsed")], status="collapsed")
    assert own.steps_S.tolist() == [0, 2]
    assert math.isinf(own.time("gen_ex"))
    assert own.decay_steps_S.tolist() == [0, 2, 4]
    assert own.decay_S.tolist() == [0, 1, 3]
    assert own.followed_until == 50


@pytest.mark.parametrize(("status", "until"), [("diverged", 50), ("stopped", 2), ("failed", 2), (None, 2)])
def test_what_ended_early_is_followed_to_there_and_what_diverged_to_the_end(status, until):
    assert only([row(0), row(2)], status=status).followed_until == until


def test_a_trial_without_a_row_of_its_own_or_of_a_set_that_the_spec_lacks_is_left_out():
    found = tables([row(0), row(0, trial_id="u", forget_set="gone")])
    assert [own.trial_id for own in trajectories_of(found)] == ["t"]
    assert trajectories_of(SweepTables(**{**vars(found), "trials": found.trials[:0]})) == []


@pytest.mark.parametrize(
    ("optimizer", "settings", "label"),
    [
        ("adamw", "gradient_ascent · adamw lr=0.1 · batch 4", "adamw"),
        ("sgd", "gradient_ascent · sgd lr=0.1 clip_norm=1 · batch 4", "clipped sgd"),
        ("sgd", "gradient_ascent · sgd lr=0.1 · batch 4", "plain sgd"),
        ("sgd", "npo beta=0.1 · sgd lr=0.1 · batch 4", "plain npo sgd"),
    ],
)
def test_conditions_are_read_from_settings(optimizer, settings, label):
    objective = settings.partition(" ")[0]
    own = only([row(0, optimizer=optimizer, settings=settings, objective=objective)])
    assert own.labels == {"optimizer": label, "batch size": "4", "canary": "", "repetitions": "1", "model": "m"}


def test_retained_data_of_a_sets_own_kind_is_the_retain_set_or_the_distractors():
    inside = only([row(0), row(2, loss=0.5, distractor_nll=9.0)])
    assert inside.losses["retained"] == pytest.approx([0, 0.5])
    out = only([row(0, forget_set="people", distractor_nll=4.0), row(2, forget_set="people", distractor_nll=4.5)])
    assert out.losses["retained"] == pytest.approx([0, 0.5])
    assert np.isnan(only([row(0, forget_set="people"), row(2, forget_set="people")]).losses["retained"]).all()


def example(step, name, gen_ex, **more):
    return {
        "trial_id": "t", "forget_set": "verses", "replicate": 0, "step": step, "example_id": name, "num_tokens": 7,
        "gen_ex": gen_ex, "memorization": 0.5, "difficulty": 2.0, **more,
    }  # fmt: skip


def test_examples_are_read_at_the_steps_that_were_completed():
    found = tables(
        [row(0), row(2), row(4, status="collapsed")],
        examples=[
            example(2, "b", 3.0), example(0, "a", 9.0), example(4, "a", -1.0), example(0, "b", 8.0),
            example(2, "a", -9.0), example(0, "a", 1.0, trial_id="unknown"),
        ],
    )  # fmt: skip
    (own,) = read_examples(found, trajectories_of(found))
    assert own.exposures["gen_ex"].tolist() == [[9, -9], [8, 3]]
    assert set(own.exposures) == {"gen_ex"}
    assert own.times("gen_ex").tolist() == [1, math.inf]
    assert own.tokens_N.tolist() == [7, 7]
    assert own.traits["memorization"].tolist() == [0.5, 0.5]


def test_examples_whose_base_is_not_known_are_left_out():
    found = tables([row(0), row(2)], examples=[example(2, "a", 3.0)])
    assert read_examples(found, trajectories_of(found)) == []
    assert read_examples(tables([row(0)]), trajectories_of(tables([row(0)]))) == []


def test_the_columns_that_are_read_are_there():
    assert set(EVALUATION_COLUMNS) - {"replicate"} <= set(EVALUATIONS.names)
    assert set(EXAMPLE_COLUMNS) <= set(EXAMPLES.names)
