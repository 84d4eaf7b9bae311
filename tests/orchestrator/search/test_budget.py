"""What a sweep may cost: when nothing more is proposed, whose share it is, and what a restart knows of it."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.cli.tables import plan_table
from orchestrator.driver import Driver as DrivingProcess
from orchestrator.driver import driven_s
from orchestrator.driver.records import driver_path, encode_driver
from orchestrator.ledger import TrialWriter
from orchestrator.monitor import status_text, sweep_status
from orchestrator.plan import plan_sweep
from orchestrator.plan.step_times import StepTimes
from orchestrator.search.budget import Budget
from orchestrator.search.study_queues import REPEATS_IN_A_ROW
from orchestrator.spec import BudgetConfig, amend_spec
from orchestrator.storage.object_store import ObjectStorage
from tests.orchestrator.helpers import Crash, Driver, make_search, make_spec, memory_ledger, outcome, write_sweep
from tests.support import FakeClock
from trainables.records import Status

TAME = {"batch_size": 4, "learning_rate": {"low": 1e-6, "high": 1e-4, "log": True}}
"""A space in which every invented trial completes, at 9 steps."""
START = datetime(2026, 1, 1, tzinfo=UTC)


def budgeted(budget, **sections):
    search = {"trials": None, "space": TAME, "budget": budget, **sections.pop("search", {})}
    return make_spec(search=search, **sections)


def account(*, clock=None, gpus=1.0, driven_before_s=0.0, **limits):
    return Budget(
        BudgetConfig(**limits),
        ["a", "b"],
        longest_trial=10,
        gpus_per_trial=gpus,
        driven_before_s=driven_before_s,
        clock=clock or FakeClock(),
    )


def per_stratum(ledger):
    counts = {}
    for row in ledger.trials():
        counts[row["stratum"]] = counts.get(row["stratum"], 0) + 1
    return counts


def test_steps_are_spent_in_whole_trials_and_equal_shares_and_never_exceeded():
    spec = budgeted({"max_steps_total": 70})
    ledger = memory_ledger()
    search = make_search(spec, ledger)
    assert search.total is None
    assert search.spent_budget() == []
    Driver(search, ledger).run()
    assert search.is_exhausted()
    assert per_stratum(ledger) == {"verses/seed=0": 3, "people/seed=0": 3}, "35 steps each, 9 a trial"
    (said,) = search.spent_budget()
    assert said.startswith("search.budget.max_steps_total: 54 of 70 steps are spent, and no trial of 9 fits any more")


def test_what_an_early_end_saves_is_spent_on_other_trials():
    explosive = {"batch_size": 4, "learning_rate": {"low": 6e-3, "high": 9e-3}}
    spec = budgeted({"max_steps_total": 40}, search={"space": explosive})
    ledger = memory_ledger()
    search = make_search(spec, ledger)
    Driver(search, ledger).run()
    assert {row["status"] for row in ledger.trials()} <= {"diverged", "collapsed"}
    steps = sum(max(e.step for e in ledger.published(row["trial_id"])[0]) for row in ledger.trials())
    assert len(ledger.trials()) > 4 * 2
    assert 40 - 2 * 9 < steps <= 40


def test_trials_that_run_have_their_steps_set_aside_and_a_cut_search_knows_of_them():
    spec = budgeted({"max_steps_total": 36})
    ledger = memory_ledger()
    search = make_search(spec, ledger, concurrent_trials=8)
    running = []
    while (assignment := search.next()) is not None:
        running.append(assignment)
    assert len(running) == 4
    rebuilt = make_search(spec, ledger, concurrent_trials=8)
    assert not rebuilt.is_exhausted(), "they go on"
    Driver(rebuilt, ledger).run()
    assert len(ledger.trials()) == 4
    assert rebuilt.is_exhausted()


def test_a_larger_budget_goes_on_and_a_count_ends_before_it_is_spent():
    spec = budgeted({"max_steps_total": 36})
    ledger = memory_ledger()
    Driver(make_search(spec, ledger), ledger).run()
    before = ledger.table("evaluations").to_pylist()
    assert make_search(spec, ledger).is_exhausted()
    larger = amend_spec(spec, ["search.budget.max_steps_total=72", "search.trials=3"])
    search = make_search(larger, ledger)
    assert not search.is_exhausted()
    new = Driver(search, ledger).run()
    assert len(new) == 2
    assert search.total == 6
    assert search.spent_budget() == [], "it was not the budget that ended it"
    assert [row for row in ledger.table("evaluations").to_pylist() if row["trial_id"] not in new] == before


def test_strata_that_come_later_find_what_the_others_left():
    ledger = memory_ledger()
    spec = budgeted({"max_steps_total": 36})
    Driver(make_search(spec, ledger), ledger).run()
    more = amend_spec(spec, ["seeds=[0, 1]"])
    assert make_search(more, ledger).is_exhausted(), "their share would exceed the whole"
    search = make_search(amend_spec(more, ["search.budget.max_steps_total=72"]), ledger)
    Driver(search, ledger).run()
    assert set(per_stratum(ledger).values()) == {2}


def test_a_search_of_few_points_ends_though_its_budget_is_not_spent():
    spec = budgeted({"max_wall": "1h"}, search={"space": {"batch_size": 4, "learning_rate": [1e-4, 1e-3]}})
    ledger = memory_ledger()
    search = make_search(spec, ledger)
    Driver(search, ledger).run()
    assert search.is_exhausted()
    assert len(ledger.trials()) == 4
    proposals = [len(json.loads(row["proposals"])) for row in ledger.trials()]
    assert sum(proposals) <= 2 * (REPEATS_IN_A_ROW + 20)
    again = make_search(spec, ledger)
    assert again.is_exhausted()
    assert again.next() is None


def test_gpu_hours_count_what_ended_and_foresee_what_runs():
    budget = account(max_gpu_hours=4.0, gpus=2.0)
    budget.open("a", "first", 10)
    assert budget.allows("a"), "nothing is known of how long a trial takes"
    budget.record("a", "first", elapsed_s=1800)
    budget.close("a", "first")
    assert budget.allows("a"), "1 of 2 GPU-hours"
    budget.open("a", "second", 10)
    assert not budget.allows("a"), "it will take the other"
    assert budget.allows("b")
    assert budget.describe(["a"]) == ["search.budget.max_gpu_hours: 1 of 4 GPU-hours are spent"]
    budget.share_gpus(0.5)
    assert budget.allows("a"), "a quarter of an hour each"


def test_gpu_hours_are_read_from_the_ledger():
    spec = budgeted({"max_gpu_hours": 4 * 4.5 / 3600}, resources={"gpus_per_trial": 1})
    ledger = memory_ledger()
    search = make_search(spec, ledger)
    Driver(search, ledger).run()
    assert per_stratum(ledger) == {"verses/seed=0": 2, "people/seed=0": 2}, "4.5 s a trial"
    rebuilt = make_search(spec, ledger)
    assert rebuilt.is_exhausted()
    assert rebuilt.spent_budget() == search.spent_budget()


def driven(storage, number, *, seconds, ended=True):
    begun, last = START.isoformat(), (START + timedelta(seconds=seconds)).isoformat()
    driver = DrivingProcess(
        token="t", host="h", machine="m", pid=1, process_started=0.0, since=begun, renewed_at=last,
        ended_at=last if ended else None,
    )  # fmt: skip
    storage.publish(driver_path(number), encode_driver(driver))


def test_wall_time_is_that_of_all_drivers_until_their_last_sign_of_life():
    storage = ObjectStorage("memory://driven")
    driven(storage, 1, seconds=100)
    driven(storage, 2, seconds=50, ended=False)
    driven(storage, 3, seconds=7)
    storage.publish(driver_path(4), b"torn")
    assert driven_s(storage, before=None) == 157
    assert driven_s(storage, before=3) == 150


def test_out_of_time_nothing_is_proposed_and_nothing_goes_on_until_there_is_more():
    clock = FakeClock()
    ledger = memory_ledger()
    driven(ledger.storage, 1, seconds=3000)
    spec = budgeted({"max_wall": "1h"})
    search = make_search(spec, ledger, concurrent_trials=2, clock=clock)
    assignment = search.next()
    clock.now += 599
    assert not search.is_out_of_time
    clock.now += 1
    assert search.is_out_of_time
    assert search.next() is None
    TrialWriter(ledger).publish(assignment.trial.trial_id, [], [], outcome(Status.STOPPED, last_step=0))
    search.end(assignment, Status.STOPPED)
    assert search.is_exhausted()
    assert search.spent_budget() == ["search.budget.max_wall: the sweep was driven for 1 h 0 min of 1h"]
    driven(ledger.storage, 2, seconds=600)
    assert make_search(spec, ledger).is_exhausted()
    longer = make_search(amend_spec(spec, ["search.budget.max_wall=2h"]), ledger)
    assert longer.next().trial.trial_id == assignment.trial.trial_id


@pytest.mark.parametrize("sampler", ["brute_force", "grid"])
def test_a_list_of_points_is_cut_by_a_budget(sampler):
    rates = [1e-6 * step for step in range(1, 30)]
    spec = budgeted(
        {"max_steps_total": 60}, search={"sampler": sampler, "space": {"batch_size": 4, "learning_rate": rates}}
    )
    ledger = memory_ledger()
    with pytest.raises(Crash):
        Driver(make_search(spec, ledger), ledger, crash_after=20).run()
    Driver(make_search(spec, ledger), ledger).run()
    assert len(ledger.trials()) == 6
    first = [row["learning_rate"] for row in ledger.trials() if row["stratum"] == "verses/seed=0"]
    assert (first == rates[:3]) == (sampler == "grid")


def test_a_plan_counts_at_most_what_a_budget_allows():
    times = StepTimes(device="cpu", training_step_s=1.0, ascent_step_s=1.0, evaluation_s=0.0)
    alone = plan_sweep(budgeted({"max_steps_total": 70, "max_wall": "2h"}), concurrent_trials=1, times=times)
    assert (alone.trials, alone.evaluations, alone.ascent_steps, alone.saving) == (None, None, 70, None)
    assert alone.budget == {"max_steps_total": 70, "max_wall": "2h"}
    assert alone.estimated_sweep_s == 2 * 3 * 9
    both = plan_sweep(budgeted({"max_steps_total": 70}, search={"trials": 9}), concurrent_trials=1)
    assert (both.trials, both.evaluations, both.ascent_steps) == (18, 18 * 4, 70)
    wide = plan_sweep(budgeted({"max_steps_total": 700}, search={"trials": 9}), concurrent_trials=1)
    assert (wide.ascent_steps, wide.saving) == (18 * 9, 16 / 9)
    unknown = plan_sweep(budgeted({"max_wall": "2h"}), concurrent_trials=1, times=times)
    assert (unknown.trials, unknown.ascent_steps, unknown.estimated_sweep_s) == (None, None, None)
    for plan in (alone, both, wide, unknown):
        json.dumps(plan.as_json())
        plan_table(plan)


def test_a_sweep_of_unknown_length_has_a_status(tmp_path):
    status = sweep_status(write_sweep(tmp_path, budgeted({"max_steps_total": 36})))
    assert (status["trials"], status["proposed"]) == (None, 4)
    assert "4 of as many as the budget allows trials proposed" in status_text(status)
