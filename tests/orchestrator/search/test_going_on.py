"""A search that goes on: after a worker died, with more to do than before, past trials of another kind."""

import json

import pytest
from optuna.trial import TrialState

from orchestrator.ledger import DriverWriter, Ledger, TrialWriter
from orchestrator.search import SweepSearch
from orchestrator.spec import amend_spec
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import (
    Driver,
    evaluation_record,
    example_record,
    invent,
    make_search,
    make_spec,
    memory_ledger,
    outcome,
)
from trainables.records import Status

SAMPLERS = ("random", "tpe", "nsga2")
TAME = {"batch_size": 4, "learning_rate": {"low": 1e-6, "high": 1e-4, "log": True}}
"""A space in which every invented trial completes."""


def finished(spec):
    ledger = memory_ledger()
    search = make_search(spec, ledger)
    Driver(search, ledger).run()
    return ledger


def steps_of(ledger):
    found = {}
    for row in ledger.table("evaluations").to_pylist():
        found.setdefault(row["trial_id"], []).append(row["step"])
    return {trial_id: sorted(steps) for trial_id, steps in found.items()}


def publish_first(ledger, assignment, count):
    records, _ = invent(assignment.trial)
    TrialWriter(ledger).publish(
        assignment.trial.trial_id, records[:count], [example_record(record.step) for record in records[:count]], None
    )
    return records[:count]


def test_a_trial_whose_worker_died_goes_on_as_often_as_allowed_and_then_has_failed():
    spec = make_spec(resources={"max_failures": 2})
    ledger = memory_ledger()
    search = make_search(spec, ledger)
    assignment = search.next()
    trial_id = assignment.trial.trial_id
    for _ in range(2):
        assert search.fail(assignment, "killed") is None
        assert ledger.trial(trial_id)["status"] is None
        assert search.next() == assignment, "it goes on before anything new"
        assert trial_id in search.running
    assert search.fail(assignment, "killed again") is Status.FAILED
    assert ledger.trial(trial_id)["status"] == "failed"
    assert ledger.trial(trial_id)["message"] == "killed again"
    assert trial_id not in search.running
    assert search.statuses[trial_id] is Status.FAILED
    Driver(search, ledger).run()
    assert search.is_exhausted()
    assert {row["status"] for row in ledger.trials()} >= {"failed", "completed"}


def test_a_study_learns_what_a_worker_published_before_it_died_unheard():
    spec = make_spec(resources={"max_failures": 0})
    ledger = memory_ledger()
    search = make_search(spec, ledger)
    assignment = search.next()
    published = publish_first(ledger, assignment, 2)
    search.fail(assignment, "killed")
    study = search.studies[assignment.stratum].study
    values = [trial.values for trial in study.get_trials(deepcopy=False) if trial.state is TrialState.COMPLETE]
    assert values == [[record.unlearning_quality, record.performance] for record in published]


def test_an_outcome_that_was_published_stands_though_its_worker_died_unheard():
    spec = make_spec(resources={"max_failures": 0})
    ledger = memory_ledger()
    search = make_search(spec, ledger)
    assignment = search.next()
    record = evaluation_record(0)
    TrialWriter(ledger).publish(assignment.trial.trial_id, [record], [example_record(0)], outcome(last_step=0))
    assert search.fail(assignment, "killed") is Status.COMPLETED
    assert ledger.trial(assignment.trial.trial_id)["status"] == "completed"


def test_failed_trials_run_again_only_when_asked():
    spec = make_spec(resources={"max_failures": 0})
    ledger = memory_ledger()
    search = make_search(spec, ledger)
    assignment = search.next()
    search.fail(assignment, "killed")
    Driver(search, ledger).run()
    assert make_search(spec, ledger).is_exhausted()
    DriverWriter(ledger).reopen_failed()
    again = make_search(spec, ledger)
    assert not again.is_exhausted()
    assert Driver(again, ledger).run() == [assignment.trial.trial_id]
    assert "failed" not in {row["status"] for row in ledger.trials()}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_more_trials_are_added_to_the_ones_there_are(sampler):
    spec = make_spec(search={"sampler": sampler, "trials": 4, "startup_trials": 2})
    ledger = finished(spec)
    before = ledger.table("evaluations").to_pylist()
    longer = amend_spec(spec, ["search.trials=6"])
    search = make_search(longer, ledger)
    new = Driver(search, ledger).run()
    assert search.is_exhausted()
    assert not set(new) & {row["trial_id"] for row in before}
    assert [row for row in ledger.table("evaluations").to_pylist() if row["trial_id"] not in new] == before
    assert all(stratum.proposed == 6 for stratum in search.studies.values())
    if sampler == "random":
        whole = finished(longer)
        assert steps_of(ledger) == steps_of(whole)


def test_a_longer_axis_opens_completed_trials_again_and_evaluates_the_further_steps_only():
    spec = make_spec(search={"space": TAME})
    ledger = finished(spec)
    longer = amend_spec(spec, ["steps=[0, 2, 5, 9, 12, 20]"])
    search = make_search(longer, ledger)
    assert not search.is_exhausted()
    assert all(row["status"] == "completed" for row in ledger.trials()), "looking changes nothing"
    driver = Driver(search, ledger)
    assert sorted(driver.run()) == sorted(row["trial_id"] for row in ledger.trials())
    assert driver.events == len(driver.started) * (1 + 2), "two further evaluations each"
    assert set(map(tuple, steps_of(ledger).values())) == {(0, 2, 5, 9, 12, 20)}
    assert {row["target_step"] for row in ledger.trials()} == {20}
    assert make_search(longer, ledger).is_exhausted()
    for stratum in search.studies.values():
        assert {trial.state for trial in stratum.study.get_trials(deepcopy=False)} <= {
            TrialState.COMPLETE,
            TrialState.FAIL,
        }


def test_a_longer_axis_leaves_collapsed_and_diverged_trials_where_they_ended():
    spec = make_spec(search={"trials": 8})
    ledger = finished(spec)
    ended = {row["trial_id"]: row["status"] for row in ledger.trials()}
    assert set(ended.values()) == {"completed", "collapsed", "diverged"}, "the invented trials end in every way"
    search = make_search(amend_spec(spec, ["steps=[0, 2, 5, 9, 12]"]), ledger)
    reopened = Driver(search, ledger).run()
    assert sorted(reopened) == sorted(trial_id for trial_id, status in ended.items() if status == "completed")


def test_a_further_seed_is_a_stratum_of_its_own():
    spec = make_spec()
    ledger = finished(spec)
    search = make_search(amend_spec(spec, ["seeds=[0, 7]"]), ledger)
    Driver(search, ledger).run()
    assert len(search.studies) == 4
    assert search.is_exhausted()
    assert len(ledger.trials()) == search.total == 16


def test_ended_trials_of_another_model_keep_their_numbers_and_teach_nothing():
    spec = make_spec(search={"sampler": "tpe", "startup_trials": 2})
    ledger = memory_ledger()
    first = make_search(spec, ledger)
    driver = Driver(first, ledger)
    for _ in range(3):
        assignment = first.next()
        driver.start(assignment)
        driver.finish(assignment)
    unfinished = first.next()
    publish_first(ledger, unfinished, 1)

    search = SweepSearch(spec, ledger, workload_hashes=["another model"], concurrent_trials=1)
    assert search.superseded == [unfinished.trial.trial_id]
    assert sum(stratum.proposed for stratum in search.studies.values()) == 3
    assert all(len(stratum.study.get_trials()) == 0 for stratum in search.studies.values())
    DriverWriter(ledger).give_up(unfinished.trial.trial_id, "another model")
    new = Driver(search, ledger).run()
    assert search.is_exhausted()
    assert len(new) == search.total - 3
    assert len(search.statuses) == search.total
    assert ledger.trial(unfinished.trial.trial_id)["status"] == "stopped"
    again = SweepSearch(spec, ledger, workload_hashes=["another model"], concurrent_trials=1)
    assert again.is_exhausted()


def test_trials_outside_a_changed_space_are_passed_over():
    spec = make_spec(search={"trials": 4})
    ledger = finished(spec)
    narrow = {"optimizer": {"choices": {"adamw": {"learning_rate": {"low": 1e-5, "high": 2e-5}}}}, "batch_size": 4}
    changed = make_spec(search={"trials": 6, "space": narrow})
    search = make_search(changed, ledger)
    assert len(Driver(search, ledger).run()) >= 4
    assert search.is_exhausted()
    for stratum in search.studies.values():
        assert stratum.proposed == 6
        for trial in stratum.study.get_trials(deepcopy=False):
            assert trial.params["optimizer"] == "adamw"


def test_a_trial_that_goes_on_is_no_longer_stopped():
    spec = make_spec()
    ledger = memory_ledger()
    assignment = make_search(spec, ledger).next()
    trial_id = assignment.trial.trial_id
    records = publish_first(ledger, assignment, 1)
    TrialWriter(ledger).publish(
        trial_id, records, [example_record(0)], outcome(Status.STOPPED, last_step=0, message="interrupted")
    )
    search = make_search(spec, ledger)
    assert ledger.trial(trial_id)["status"] == "stopped"
    assert search.next().trial.trial_id == trial_id
    row = ledger.trial(trial_id)
    assert (row["status"], row["message"], row["ended_at"]) == (None, None, None)
    assert len(json.loads(row["proposals"])) == 1


def test_a_trial_whose_row_was_lost_teaches_its_study_what_it_has_published(tmp_path):
    spec = make_spec(search={"sampler": "tpe", "startup_trials": 2})
    ledger = Ledger(storage=LocalStorage(tmp_path), sweep="tiny")
    search = make_search(spec, ledger)
    Driver(search, ledger).run()
    before = {name: observations(stratum) for name, stratum in search.studies.items()}
    lost = ledger.trials()[0]["trial_id"]
    (tmp_path / "trials" / f"{lost}.parquet").unlink()

    again = make_search(spec, ledger)
    assert not again.is_exhausted()
    Driver(again, ledger).run()
    assert {name: observations(stratum) for name, stratum in again.studies.items()} == before


def observations(stratum):
    trials = stratum.study.get_trials(deepcopy=False)
    return sorted(str((t.params, t.values)) for t in trials if t.state is TrialState.COMPLETE)


@pytest.mark.parametrize("seed", range(3))
def test_trials_beyond_a_shortened_axis_may_be_proposed_again_within_it(seed):
    space = {"batch_size": 4, "learning_rate": [1e-4, 1e-5]}
    sampled = {"sampler": "random", "extent": "sampled", "seed": seed, "space": space}
    ledger = finished(make_spec(search={**sampled, "trials": 6}))
    shorter = make_spec(steps=[0, 2, 5], search={**sampled, "trials": 12})
    search = make_search(shorter, ledger)
    Driver(search, ledger).run()
    assert search.is_exhausted()
    assert make_search(shorter, ledger).is_exhausted()
    assert {row["status"] for row in ledger.trials()} == {"completed"}
