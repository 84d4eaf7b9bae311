"""Trials that ended early: ranked by what the ledger holds, left alone by a resume, gone on with without the rule."""

import json

import pytest
from optuna.trial import TrialState

from orchestrator.errors import StorageError
from orchestrator.model_work import workload_hash
from orchestrator.rivals import TrialLedger
from orchestrator.spec import amend_spec
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
from tests.orchestrator.test_constraints import ledger_with_baselines
from trainables.records import Status

TAME = {"batch_size": 4, "learning_rate": {"low": 1e-6, "high": 1e-4, "log": True}}
HALVING = {"halving": {"rungs": [2, 5]}}
FLOOR = 6.0
PINNED_WORKLOAD = "2cde987595a1bdf1f0986a0f474f5a1a7b359a54ac46e93b73a474e7956f80e0"


def published(ledger, assignment, *points, ended=None):
    """Publish evaluations of (step, quality, performance)."""
    records = [evaluation_record(step, quality=quality, performance=nll) for step, quality, nll in points]
    examples = [example_record(record.step) for record in records]
    ledger.publish(assignment.trial.trial_id, records, examples, ended)
    return records


@pytest.fixture
def stratum_of_four():
    """Four trials of one stratum and one of another, with baselines of quality 10 and performance 3."""
    ledger = TrialLedger.of(ledger_with_baselines())
    search = make_search(make_spec(search={"trials": 8}), ledger, concurrent_trials=8)
    assignments = [search.next() for _ in range(8)]
    mine = [a for a in assignments if a.stratum == "verses/seed=0"]
    return ledger, mine, next(a for a in assignments if a.stratum != "verses/seed=0")


def test_a_trial_is_ranked_by_hypervolume_among_those_of_its_stratum_that_reached_its_step(stratum_of_four):
    ledger, (best, mine, behind, early), foreign = stratum_of_four
    published(ledger, best, (2, 4.0, 3.5), (5, 0.0, 3.0))  # what comes after the rung is not looked at
    published(ledger, behind, (0, 10.0, 3.0), (2, 9.0, 3.0))
    published(ledger, early, (0, 1.0, 3.0))
    published(ledger, foreign, (2, 0.0, 3.0))
    own = published(ledger, mine, (0, 10.0, 3.0), (2, 6.0, 3.5))
    rank = ledger.rank(mine.trial.trial_id, own, worst_performance=FLOOR)
    assert rank == (2, 3), "areas 6 x 2.5, 4 x 2.5 and 1 x 3"
    unpublished = [evaluation_record(2, quality=1.0, performance=3.5)]
    assert ledger.rank(mine.trial.trial_id, unpublished, worst_performance=FLOOR) == (1, 3)
    assert ledger.rank(mine.trial.trial_id, own, worst_performance=3.4).rank == 2, "beyond the floor nothing counts"


def test_equal_trials_share_the_better_rank_and_a_collapsed_one_counts_as_far_as_it_came(stratum_of_four):
    ledger, (one, two, three, _), _ = stratum_of_four
    own = published(ledger, one, (2, 6.0, 3.5))
    published(ledger, two, (2, 6.0, 3.5))
    collapsed = evaluation_record(2, quality=0.0, performance=7.0, status=Status.COLLAPSED)
    ledger.publish(three.trial.trial_id, [collapsed], [example_record(2)], None)
    assert ledger.rank(one.trial.trial_id, own, worst_performance=FLOOR) == (1, 3)


def test_without_a_base_model_there_is_nothing_to_rank_from():
    ledger = TrialLedger.of(memory_ledger())
    assignment = make_search(make_spec(), ledger).next()
    own = published(ledger, assignment, (2, 6.0, 3.5))
    with pytest.raises(StorageError, match=r"references/baselines\.parquet"):
        ledger.rank(assignment.trial.trial_id, own, worst_performance=FLOOR)


def ended_early(stop, *, sampler="random", space=None):
    """A sweep of two strata, one trial each, that ended at step 2 of 9. A grid proposes to go to the end."""
    spec = make_spec(search={"sampler": sampler, "trials": 1, "space": space or TAME}, stop=stop)
    ledger = memory_ledger()
    search = make_search(spec, ledger)
    while (assignment := search.next()) is not None:
        records = invent(assignment.trial)[0][:2]
        for record in records:
            search.observe(assignment, {**vars(record), "feasible": True})
        examples = [example_record(record.step) for record in records]
        ended = outcome(Status.COMPLETED, last_step=2, message="number 2 of the 2")
        ledger.publish(assignment.trial.trial_id, records, examples, ended)
        search.end(assignment, Status.COMPLETED)
    return spec, ledger, search


def test_what_is_known_of_a_trial_that_ended_early_counts_and_its_end_is_no_failure_of_the_point():
    spec, ledger, live = ended_early(HALVING, sampler="grid", space={"batch_size": 4, "learning_rate": [1e-5]})
    for search in (live, make_search(spec, ledger)):
        for stratum in search.studies.values():
            trials = stratum.study.get_trials(deepcopy=False)
            complete = [t for t in trials if t.state is TrialState.COMPLETE]
            assert len(complete) == 2
            assert all(t.constraints == {"feasible": 0.0} for t in complete)
            assert {t.state for t in trials} == {TrialState.COMPLETE, TrialState.FAIL}


def test_a_trial_that_ended_early_is_not_run_again():
    spec, ledger, live = ended_early(HALVING)
    again = make_search(spec, ledger)
    assert again.is_exhausted()
    assert again.statuses == live.statuses
    ledger.mend()
    assert {row["status"] for row in ledger.trials()} == {"completed"}


@pytest.mark.parametrize(
    "overrides",
    [["stop.halving=null"], ["stop.halving.rungs=[5]"], ["steps=[0, 2, 5, 9, 12]"]],
)
def test_it_goes_on_without_the_rule_and_is_judged_anew_on_a_longer_axis(overrides):
    spec, ledger, _ = ended_early(HALVING)
    search = make_search(amend_spec(spec, overrides), ledger)
    assert not search.is_exhausted()
    reopened = Driver(search, ledger).run()
    assert sorted(reopened) == sorted(row["trial_id"] for row in ledger.trials())
    assert {row["last_step"] for row in ledger.trials()} == {search.next() or amend_spec(spec, overrides).steps[-1]}
    assert all(len(json.loads(row["proposals"])) == 1 for row in ledger.trials())
    assert make_search(amend_spec(spec, overrides), ledger).is_exhausted()


def test_another_reduction_does_not_open_what_was_decided():
    spec, ledger, _ = ended_early(HALVING)
    assert make_search(amend_spec(spec, ["stop.halving.reduction=2"]), ledger).is_exhausted()


def test_only_the_floor_is_part_of_what_a_trial_is():
    class Sets:
        def content_hash(self):
            return "data"

    hashes = {
        workload_hash(make_spec(stop=stop), Sets(), [])
        for stop in ({}, HALVING, {"exposure_at_most": 2.0, "patience": 5}, {"max_heldout_nll_increase": 3.0})
    }
    assert hashes == {PINNED_WORKLOAD}, "as it was before there were rules to end trials early"
    other = workload_hash(make_spec(stop={"max_heldout_nll_increase": 2.0}), Sets(), [])
    assert other not in hashes
