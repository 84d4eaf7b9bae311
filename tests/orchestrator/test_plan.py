"""What a sweep will cost, counted by hand."""

import pytest

from orchestrator.plan import plan_sweep
from tests.orchestrator.helpers import make_spec

FIXED = {"batch_size": 4, "learning_rate": 1e-3}


def plan(spec, concurrent_trials=3):
    return plan_sweep(spec, concurrent_trials=concurrent_trials, estimate=False)


def test_the_counts_of_a_small_spec():
    result = plan(make_spec(seeds=[0, 1, 2], steps=[2, 5, 9], preparation={"references": 3}))
    assert (result.strata, result.trials_per_stratum, result.trials) == (6, 4, 24)
    assert (result.step_values, result.evaluations) == (3, 72)
    assert result.ascent_steps == 24 * 9
    assert result.separate_run_ascent_steps == 24 * (2 + 5 + 9)
    assert result.models_to_train == 4
    assert result.training_steps == 4 * 2 * ((100 + 4 + 4) // 10)
    assert result.concurrent_trials == 3
    assert (result.estimated_preparation_s, result.estimated_sweep_s) == (None, None)
    assert not result.schedule_depends_on_total


@pytest.mark.parametrize("steps", [[1], [5, 10, 20, 50], [0, 2, 4, 8]])
def test_the_saving_is_sum_over_max(steps):
    assert plan(make_spec(steps=steps)).saving == pytest.approx(sum(steps) / max(steps))


def test_where_a_schedule_needs_the_total_nothing_is_shared():
    space = {**FIXED, "learning_rate": [1e-4, 1e-3], "schedule": "linear"}
    result = plan(make_spec(steps=[2, 5, 9], search={"sampler": "grid", "trials": None, "space": space}))
    assert result.schedule_depends_on_total
    assert (result.trials_per_stratum, result.trials, result.evaluations) == (6, 12, 12)
    assert result.ascent_steps == result.separate_run_ascent_steps == 2 * 2 * (2 + 5 + 9)
    assert result.saving == 1


def test_repeated_examples_and_distractors_count_as_training():
    people = {
        "distribution": "out", "canary": "personal_data", "size": 4, "population": 8,
        "repetitions": 5, "distractors": 30,
    }  # fmt: skip
    result = plan(make_spec(data={"forget_sets": {"people": people}}, preparation={"references": 0}))
    assert result.training_steps == 2 * ((100 + 4 * 5 + 30) // 10)


def test_json_has_the_saving():
    result = plan(make_spec())
    assert result.as_json()["saving"] == result.saving
    assert result.as_json()["trials"] == 8
