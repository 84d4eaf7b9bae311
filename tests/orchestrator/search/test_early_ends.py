"""Trials that ended early: ranked by what the ledger holds, with the other seeds of their setting, left alone by a
resume, gone on with without the rule."""

import json

import pytest
from optuna.trial import TrialState

from orchestrator.errors import StorageError
from orchestrator.ledger import TrialWriter, repair_ledger
from orchestrator.ledger.row_changes import change_trial
from orchestrator.preparation.model_identity import workload_hash
from orchestrator.spec import amend_spec
from tests.orchestrator.helpers import (
    Crash,
    Driver,
    evaluation_record,
    example_record,
    halving_of,
    invent,
    make_search,
    make_spec,
    memory_ledger,
    outcome,
    told,
)
from tests.orchestrator.search.test_constraints import ledger_with_baselines
from tests.orchestrator.search.test_search import rows
from trainables.records import Status

TAME = {"batch_size": 4, "learning_rate": {"low": 1e-6, "high": 1e-4, "log": True}}
HALVING = {"halving": {"rungs": [2, 5]}}
FLOOR = 6.0
PINNED_WORKLOAD = "2cde987595a1bdf1f0986a0f474f5a1a7b359a54ac46e93b73a474e7956f80e0"


def published(ledger, assignment, *points, ended=None):
    """Publish evaluations of (step, quality, performance)."""
    records = [evaluation_record(step, quality=quality, performance=nll) for step, quality, nll in points]
    examples = [example_record(record.step) for record in records]
    TrialWriter(ledger).publish(assignment.trial.trial_id, records, examples, ended)
    return records


@pytest.fixture
def stratum_of_four():
    """Four trials of one stratum and one of another, with baselines of quality 10 and performance 3."""
    ledger = ledger_with_baselines()
    search = make_search(make_spec(search={"trials": 8}), ledger, concurrent_trials=8)
    assignments = [search.next() for _ in range(8)]
    mine = [a for a in assignments if a.stratum == "verses/seed=0"]
    return ledger, mine, next(a for a in assignments if a.stratum != "verses/seed=0")


def halving_with(ledger, *, max_increase=FLOOR - 3.0, reduction=3.0):
    stop = {"halving": {"rungs": [2, 5], "reduction": reduction}, "max_heldout_nll_increase": max_increase}
    return halving_of(ledger, make_spec(stop=stop))


def test_a_trial_is_ranked_by_hypervolume_among_those_of_its_stratum_that_reached_its_step(stratum_of_four):
    ledger, (best, mine, behind, early), foreign = stratum_of_four
    published(ledger, best, (2, 4.0, 3.5), (5, 0.0, 3.0))  # what comes after the rung is not looked at
    published(ledger, behind, (0, 10.0, 3.0), (2, 9.0, 3.0))
    published(ledger, early, (0, 1.0, 3.0))
    published(ledger, foreign, (2, 0.0, 3.0))
    published(ledger, mine, (0, 10.0, 3.0), (2, 6.0, 3.5))
    halving = halving_with(ledger)
    assert halving.rank(mine.trial, 2) == (2, 3), "areas 6 x 2.5, 4 x 2.5 and 1 x 3"
    beyond = halving_with(ledger, max_increase=0.4)
    assert beyond.rank(mine.trial, 2).rank == 2, "beyond the floor nothing counts"
    halving.observe(early.trial, told(evaluation_record(2, quality=0.0, performance=3.0)))
    assert halving.rank(mine.trial, 2) == (3, 4), "it hears of every evaluation"
    published(ledger, behind, (0, 10.0, 3.0), (2, 1.0, 3.0))
    halving.catch_up(behind.trial)
    assert halving.rank(mine.trial, 2) == (4, 4), "of what nobody heard it reads"


@pytest.mark.parametrize(
    ("rank", "among", "goes_on"),
    [(1, 1, True), (1, 2, True), (2, 2, False), (2, 5, False), (2, 6, True), (3, 8, False), (3, 9, True)],
)
def test_at_a_rung_one_in_reduction_goes_on_and_always_the_best(rank, among, goes_on, stratum_of_four, monkeypatch):
    ledger, (mine, *_), _ = stratum_of_four
    halving = halving_with(ledger)
    monkeypatch.setattr(halving, "rank", lambda *_: (rank, among))
    reason = halving.decide(mine.trial, 2)
    assert (reason is None) == goes_on
    assert goes_on or f"number {rank} of the {among}" in reason
    assert TrialWriter(ledger).verdict(mine.trial.trial_id) == reason, "the trial finds it in its row"
    assert ledger.trial(mine.trial.trial_id)["status"] is None, "it ends itself"


def test_equal_trials_share_the_better_rank_and_a_collapsed_one_counts_as_far_as_it_came(stratum_of_four):
    ledger, (one, two, three, _), _ = stratum_of_four
    published(ledger, one, (2, 6.0, 3.5))
    published(ledger, two, (2, 6.0, 3.5))
    collapsed = evaluation_record(2, quality=0.0, performance=7.0, status=Status.COLLAPSED)
    TrialWriter(ledger).publish(three.trial.trial_id, [collapsed], [example_record(2)], None)
    assert halving_with(ledger).rank(one.trial, 2) == (1, 3)


def test_without_a_base_model_there_is_nothing_to_rank_from():
    ledger = memory_ledger()
    assignment = make_search(make_spec(), ledger).next()
    published(ledger, assignment, (2, 6.0, 3.5))
    with pytest.raises(StorageError, match=r"references/baselines\.parquet"):
        halving_with(ledger).rank(assignment.trial, 2)


def ended_early(stop, *, sampler="random", space=None):
    """A sweep of two strata, one trial each, that ended at step 2 of 9. A grid proposes to go to the end."""
    spec = make_spec(search={"sampler": sampler, "trials": 1, "space": space or TAME}, stop=stop)
    ledger = memory_ledger()
    search = make_search(spec, ledger)
    while (assignment := search.next()) is not None:
        records = invent(assignment.trial)[0][:2]
        for record in records:
            search.observe(assignment, told(record))
        examples = [example_record(record.step) for record in records]
        ended = outcome(Status.COMPLETED, last_step=2, message="number 2 of the 2")
        TrialWriter(ledger).publish(assignment.trial.trial_id, records, examples, ended)
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
    repair_ledger(ledger)
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


def siblings(across="seeds", **fields):
    """The ledger, what judges its trials, and the trials of one proposal: two seeds of each forget set."""
    spec = make_spec(seeds=[0, 1], stop=HALVING, search={"across": across, "sampler": "grid", "space": GRID}, **fields)
    ledger = ledger_with_baselines()
    search = make_search(spec, ledger, concurrent_trials=8)
    trials = [search.next().trial for _ in range(4)]
    assert len({trial.config.learning_rate for trial in trials}) == 1
    return ledger, halving_of(ledger, spec), {(trial.forget_set, trial.seed): trial.trial_id for trial in trials}


GRID = {"batch_size": 4, "learning_rate": [1e-5, 2e-5, 4e-5, 8e-5]}


@pytest.mark.parametrize("decided", [None, "it is number 3 of 3"])
def test_the_seeds_of_a_setting_agree_at_a_rung_on_what_the_first_of_them_came_to(decided):
    _ledger, halving, trials = siblings()
    first, second = trials["verses", 1], trials["verses", 0]
    assert halving.agree(first, 2, decided) == decided
    follows = halving.agree(second, 2, "it is number 2 of 2" if decided is None else None)
    assert follows == (decided and f"{decided}; so decided trial {first}, of the same setting")
    assert halving.agree(first, 2, "by now it is number 4 of 5") == decided, "it was killed before it published its end"


def test_another_rung_forget_set_axis_or_model_is_another_decision():
    ledger, halving, trials = siblings()
    assert halving.agree(trials["verses", 0], 2, "behind") == "behind"
    assert halving.agree(trials["verses", 1], 5, None) is None
    assert halving.agree(trials["people", 1], 2, None) is None
    spec = make_spec(search={"across": "seeds"}, stop=HALVING)
    other = halving_of(ledger, spec)
    assert other.agree(trials["verses", 1], 2, None) is not None
    other = halving_of(ledger, spec, "another workload")
    assert other.agree(trials["verses", 1], 2, None) is None


def test_on_a_longer_axis_a_setting_that_had_ended_is_judged_anew_and_one_that_went_on_is_not():
    ledger, halving, trials = siblings()
    first, second = trials["verses", 0], trials["verses", 1]
    for target_step, reason in ((9, "behind"), (12, "still behind"), (15, None), (18, "fell behind")):
        for trial_id in (first, second):
            change_trial(ledger, trial_id, {"target_step": target_step})
        assert halving.agree(first, 2, reason) == (reason if target_step < 18 else None)
        assert (halving.agree(second, 2, None if reason else "behind") is None) == (target_step >= 15)


def test_where_every_seed_has_a_study_of_its_own_each_trial_is_judged_by_itself():
    ledger, halving, trials = siblings(across="each")
    assert [halving.agree(trials["verses", seed], 2, reason) for seed, reason in enumerate(("behind", None))] == [
        "behind",
        None,
    ]
    assert not ledger.storage.files("halving", "")


def test_of_two_seeds_at_a_rung_at_the_same_moment_one_decides(monkeypatch):
    ledger, halving, trials = siblings()
    kind = type(ledger.storage)
    create, faster = kind.create, []

    def create_after_the_other(storage, path, content):
        if not faster:
            faster.append(trials["verses", 1])
            faster.append(halving.agree(trials["verses", 1], 2, "behind"))
        return create(storage, path, content)

    monkeypatch.setattr(kind, "create", create_after_the_other)
    follows = halving.agree(trials["verses", 0], 2, None)
    assert faster[1] == "behind"
    assert follows is not None


DAMAGED = [b"", b"[]", b"{}", b"\xff", b"null", b'{"trial_id":1,"step":2,"target_step":9,"reason":null}']


@pytest.mark.parametrize("content", DAMAGED)
def test_a_decision_that_is_damaged_is_named(content):
    ledger, halving, trials = siblings()
    halving.agree(trials["verses", 0], 2, "behind")
    (path,) = ledger.storage.files("halving", "")
    ledger.storage.publish(path, content)
    with pytest.raises(StorageError, match=f"{path}: does not say what was decided of a setting at a rung; remove it"):
        halving.agree(trials["verses", 1], 2, None)


def halved(crash_after=None, ledger=None):
    search = {"across": "seeds", "sampler": "tpe", "trials": 6, "space": TAME}
    spec = make_spec(seeds=[0, 1, 2], stop=HALVING, search=search)
    ledger = ledger or ledger_with_baselines()
    Driver(make_search(spec, ledger), ledger, crash_after=crash_after, halves=True).run()
    return spec, ledger


def test_halving_ends_the_seeds_of_a_setting_together_so_that_the_mean_is_of_all_wherever_one_is():
    spec, ledger = halved()
    ends = {}
    for row in ledger.trials():
        ends.setdefault((row["forget_set"], row["setting_id"]), []).append(row["last_step"])
    assert {len(steps) for steps in ends.values()} == {3}
    assert all(len(set(steps)) == 1 for steps in ends.values())
    assert {steps[0] for steps in ends.values()} == {2, 5, 9}, "the check would be empty"
    search = make_search(spec, ledger)
    assert search.is_exhausted()
    for name, searched in search.studies.items():
        known = [t for t in searched.study.get_trials(deepcopy=False) if t.state is TrialState.COMPLETE]
        assert len(known) == sum(spec.steps.index(own[0]) + 1 for (of, _), own in ends.items() if of == name)


@pytest.fixture(scope="module")
def whole():
    """The ledger of a halved sweep that nobody interrupted."""
    return halved()[1]


@pytest.mark.parametrize("cut", range(1, 110, 17))
def test_a_halved_sweep_that_was_cut_off_goes_on_as_an_unbroken_one(cut, whole):
    ledger = ledger_with_baselines()
    with pytest.raises(Crash):
        halved(crash_after=cut, ledger=ledger)
    _, again = halved(ledger=ledger)
    assert rows(again, "trials") == rows(whole, "trials")
    assert rows(again) == rows(whole)
