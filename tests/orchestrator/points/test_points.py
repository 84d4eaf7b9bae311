"""Which evaluated step of a sweep is meant: by a trial's id and a step, or as the best within bounds."""

import re
from dataclasses import replace

import pytest

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger, metric_row
from orchestrator.points import best_step, find_step, parse_conditions
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import FLOOR, make_spec, write_sweep
from trainables.records import Status


@pytest.fixture(scope="module")
def sweep(written_sweeps):
    return Ledger(storage=LocalStorage(written_sweeps / "first"), sweep="first")


def candidates(sweep, forget_set="verses"):
    rows = sweep.table("evaluations").to_pylist()
    return [row for row in rows if row["status"] == Status.COMPLETED and row["forget_set"] == forget_set]


def best(sweep, text, forget_set="verses"):
    return best_step(sweep, parse_conditions(text), forget_set)


def test_a_point_is_found_by_the_beginning_of_an_id_and_a_step(sweep):
    row = sweep.trials()[0]
    found = find_step(sweep, row["trial_id"][:8], 2)
    assert (found.trial_id, found.step) == (row["trial_id"], 2)
    evaluation = next(e for e in sweep.published(row["trial_id"])[0] if e.step == 2)
    assert found.metrics == metric_row("evaluations", evaluation.columns())


def test_a_beginning_that_no_trial_or_several_have_is_refused_with_the_candidates(sweep):
    ids = [row["trial_id"] for row in sweep.trials()]
    with pytest.raises(SweepError, match="no trial of this sweep begins so") as caught:
        find_step(sweep, "zzz", 2)
    assert all(trial_id in str(caught.value) for trial_id in ids)
    with pytest.raises(SweepError, match="several trials begin so"):
        find_step(sweep, "", 2)


def test_a_step_that_was_not_evaluated_is_refused_with_the_nearest(sweep):
    row = next(row for row in sweep.trials() if row["last_step"] == 9)
    with pytest.raises(SweepError, match=re.escape("nearest: 5; its steps: 0, 2, 5, 9")):
        find_step(sweep, row["trial_id"], 6)


def test_step_0_is_the_base_model_where_the_axis_begins_later(tmp_path):
    sweep = write_sweep(tmp_path, make_spec(steps=[2, 5]))
    found = find_step(sweep, sweep.trials()[0]["trial_id"], 0)
    assert (found.metrics["gen_ex"], found.metrics["tokens_seen"]) == (10.0, 0), "as the trial measured it"


def test_step_0_of_a_trial_without_such_a_row_is_the_baseline(tmp_path):
    sweep = write_sweep(tmp_path, make_spec(steps=[2, 5]), base_rows=False)
    found = find_step(sweep, sweep.trials()[0]["trial_id"], 0)
    assert found.metrics["gen_ex"] == 10.0
    assert "tokens_seen" not in found.metrics


def test_bounded_exposure_gives_the_best_performance_within_it(sweep):
    within = [row for row in candidates(sweep) if row["unlearning_quality"] <= 8]
    found = best(sweep, "exposure<=8")
    assert len(within) > 1
    assert found.metrics["performance"] == min(row["performance"] for row in within)


def test_bounded_performance_gives_the_least_exposed_and_never_the_lowest_gen_ex(sweep):
    people = candidates(sweep, "people")
    over_unlearned = min(people, key=lambda row: row["gen_ex"])
    found = best(sweep, f"performance<={over_unlearned['performance']}", "people")
    within = [row for row in people if row["performance"] <= over_unlearned["performance"]]
    assert found.metrics["unlearning_quality"] == min(row["unlearning_quality"] for row in within)
    assert over_unlearned["gen_ex"] < 0 < over_unlearned["unlearning_quality"] - found.metrics["unlearning_quality"]


def test_where_both_are_bounded_the_best_performance_is_chosen(sweep):
    both = best(sweep, "exposure <= 8, heldout_nll <= 5")
    assert replace(both, chosen_by=None) == replace(best(sweep, "unlearning_quality<=8"), chosen_by=None)


def test_prices_on_its_own_kind_are_bounds_on_performance(sweep):
    assert best(sweep, "population_nll<=2.5") == replace(
        best(sweep, "performance<=1e9"), chosen_by="population_nll<=2.5"
    )


def test_a_point_that_was_chosen_says_by_what(sweep):
    assert best(sweep, "exposure<=8").chosen_by == "unlearning_quality<=8"
    assert find_step(sweep, sweep.trials()[0]["trial_id"], 2).chosen_by is None


def test_any_number_of_an_evaluation_can_be_bounded_on_both_sides(sweep):
    found = best(sweep, "gen_ex<=9,step>=5,step<=5")
    assert found.step == 5
    assert found.metrics["gen_ex"] <= 9


def test_points_of_several_forget_sets_are_not_compared(sweep):
    with pytest.raises(SweepError, match="--forget-set people, verses"):
        best(sweep, "exposure<=8", None)


def test_one_forget_set_that_qualifies_alone_is_chosen(sweep):
    lowest = min(row["performance"] for row in candidates(sweep) if row["step"])
    assert all(row["performance"] > lowest for row in candidates(sweep, "people") if row["step"])
    found = best(sweep, f"performance<={lowest}, step>=2", None)
    assert found.trial["forget_set"] == "verses"


def test_a_collapsed_model_is_never_the_best(tmp_path):
    space = {"batch_size": 4, "learning_rate": [4e-3]}
    sweep = write_sweep(tmp_path, make_spec(search={"sampler": "grid", "trials": None, "space": space}))
    assert max(row["performance"] for row in sweep.table("evaluations").to_pylist()) > FLOOR
    with pytest.raises(SweepError, match="none of 2 completed evaluations"):
        best(sweep, f"performance>={FLOOR}")


def test_where_nothing_qualifies_the_closest_is_named(sweep):
    closest = min(candidates(sweep), key=lambda row: row["unlearning_quality"])
    with pytest.raises(SweepError, match=f"none of .* closest: trial {closest['trial_id']}, step {closest['step']},"):
        best(sweep, "exposure<=-1")
    with pytest.raises(SweepError, match="bleu not measured"):
        best(sweep, "bleu>=1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exposure<2", "cannot read 'exposure<2'"),
        ("", "cannot read ''"),
        ("exposure<=2,", "cannot read ''"),
        ("exposure<=two", "cannot read 'exposure<=two'"),
        ("exposure<=nan", "cannot read 'exposure<=nan'"),
        ("exposre<=2", "did you mean 'exposure'?"),
        ("objective<=2", "'objective' is not a numeric column of evaluations"),
    ],
)
def test_what_is_no_bound_is_refused(text, said):
    with pytest.raises(SweepError, match=re.escape(said)):
        parse_conditions(text)
