"""A study rebuilt from the ledger is the live one, for every sampler, over invented specs."""

import contextlib
import json
import random
from collections import Counter, defaultdict

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from orchestrator.errors import SweepError
from orchestrator.ledger import repair_ledger
from orchestrator.ledger.schema import TABLES
from orchestrator.ledger.tables import trial_files as growing
from orchestrator.ledger.tables.parquet import encode
from orchestrator.ledger.tables.trial_files import proposed_trial
from orchestrator.search.proposals import Proposal
from orchestrator.search.sampling import gaussian_process
from orchestrator.spec import LISTING
from search_spaces import all_dimensions, point_at
from tests.orchestrator.helpers import Crash, Driver, make_search, make_spec, memory_ledger

SAMPLERS = ("grid", "brute_force", "random", "qmc", "tpe", "nsga2", "nsga3", "gp", "cmaes")
BY_NUMBER = ("grid", "brute_force", "random", "qmc")
"""Samplers whose proposals do not depend on results."""
INFEASIBLE = ("diverged", "collapsed")
ONE_FORGET_SET = {"verses": {"distribution": "in", "size": 4, "population": 8}}

rates = st.sampled_from(
    [
        {"low": 1e-5, "high": 1e-2, "log": True, "grid_points": 2},
        {"low": 1e-4, "high": 9e-3, "grid_points": 2},
        [1e-3, 9e-3],
    ]
)
batches = st.sampled_from([4, [2, 4], {"low": 1, "high": 3}, {"low": 1, "high": 2, "log": True}])
branches = st.fixed_dictionaries({"learning_rate": rates}, optional={"weight_decay": st.just([0.0, 0.1])})
optimizers = st.fixed_dictionaries({"adamw": branches, "sgd": branches}).map(lambda options: {"choices": options})
plain = st.fixed_dictionaries({"batch_size": batches, "learning_rate": rates})
conditional = st.fixed_dictionaries({"batch_size": batches, "optimizer": optimizers})
ranges = st.fixed_dictionaries(
    {
        "batch_size": st.sampled_from([4, {"low": 1, "high": 3}]),
        "learning_rate": st.just({"low": 1e-5, "high": 1e-2, "log": True}),
    }
)
bounds = st.sampled_from([{}, {"performance_at_most": 3.2, "exposure_at_most": 9.0}])
schedules = st.sampled_from(["constant", "linear", ["constant", "linear"]])


@st.composite
def specs(draw, sampler, **search):
    """A spec with one stratum; few trials, and yet several generations of NSGA-II and CMA-ES."""
    space = {**draw(st.one_of(plain, conditional)), "schedule": draw(schedules)}
    if sampler in LISTING:
        space["schedule"] = draw(st.sampled_from(["constant", "linear"]))
        search = {"trials": 2 if sampler == "brute_force" else None, **search}
    elif sampler == "cmaes":
        space = {**draw(ranges), "schedule": draw(st.sampled_from(["constant", "linear"]))}
        minimize = draw(st.sampled_from(["unlearning_quality", "performance"]))
        search = {"trials": 12, "minimize": minimize, "constraints": {"exposure_at_most": 9.0}, **search}
    else:
        search = {"constraints": draw(bounds), **search}
        search = {"trials": 7, "extent": draw(st.sampled_from(["axis", "sampled"])), **search}
    steps = [2, 5, 9] if space["schedule"] != "constant" else [0, 2, 5]
    settings_ = {"sampler": sampler, "startup_trials": 2, "population_size": 3, "seed": draw(st.integers(0, 99))}
    return make_spec(steps=steps, data={"forget_sets": ONE_FORGET_SET}, search={**settings_, "space": space, **search})


def study_of(search):
    (stratum,) = search.studies.values()
    return stratum.study


def trials_of(search):
    """All that a sampler may look at, in the order in which it sees it."""
    return [
        (
            trial.number,
            list(trial.params.items()),
            trial.distributions,
            trial.state,
            trial.values,
            trial.constraints,
            {key: value for key, value in trial.system_attrs.items() if key.endswith(":generation")},
        )
        for trial in study_of(search).get_trials(deepcopy=False)
    ]


def proposals_of(ledger):
    """Everything that was proposed, by number, and what came of it."""
    found = [(p["number"], p, row["trial_id"]) for row in ledger.trials() for p in json.loads(row["proposals"])]
    return sorted(found, key=lambda entry: entry[0])


def hashed_proposal(study, space, axis_length, *, seed):
    """Stand in for the Gaussian process, in no time: like it, a function of all that the study holds, and the seed."""
    seen = [(t.state, t.values, t.constraints, list(t.params.items())) for t in study.get_trials(deepcopy=False)]
    rng = random.Random(repr((seed, seen)))
    return point_at(space, {path: rng.random() for path, _ in all_dimensions(space)}), rng.randrange(axis_length)


@pytest.fixture(autouse=True)
def quick_gaussian_process(monkeypatch):
    monkeypatch.setattr(gaussian_process, "propose", hashed_proposal)


def run_whole(spec):
    ledger = memory_ledger()
    search = make_search(spec, ledger)
    Driver(search, ledger).run()
    return search, ledger


examples = settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes a second: shrinking one takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("sampler", SAMPLERS)
@examples
@given(data=st.data())
def test_a_search_cut_anywhere_goes_on_as_the_uncut_one(sampler, data):
    spec = data.draw(specs(sampler))
    live, ledger = run_whole(spec)
    assert trials_of(make_search(spec, ledger)) == trials_of(live)

    events = len(proposals_of(ledger)) + ledger.table("evaluations").num_rows
    other = memory_ledger()
    for cut in (data.draw(st.integers(1, events - 1), label="cut"), 1):
        try:
            Driver(make_search(spec, other), other, crash_after=cut).run()
        except Crash:
            rebuilt = make_search(spec, other)
            unfinished = sum(row["status"] is None for row in other.trials())
            assert Counter(t.state for t in study_of(rebuilt).trials)[TrialState.RUNNING] <= unfinished
    search = make_search(spec, other)
    Driver(search, other).run()
    assert proposals_of(other) == proposals_of(ledger)
    assert trials_of(search) == trials_of(live)


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
@pytest.mark.parametrize("cut_after", [1, 7, 12])
def test_a_search_with_a_budget_alone_cut_anywhere_spends_it_as_the_uncut_one(sampler, cut_after):
    spec = make_spec(
        steps=[0, 2, 5],
        data={"forget_sets": ONE_FORGET_SET},
        search={
            "sampler": sampler,
            "startup_trials": 2,
            "minimize": "performance" if sampler == "cmaes" else "both",
            "constraints": {"exposure_at_most": 9.0},
            "trials": None,
            "budget": {"max_steps_total": 40},
            "space": {
                "batch_size": 4,
                "learning_rate": {"low": 1e-5, "high": 1e-2, "log": True},
                "weight_decay": {"low": 0.0, "high": 0.1},
            },
        },
    )
    live, ledger = run_whole(spec)
    assert live.is_exhausted()
    other = memory_ledger()
    for cut in (cut_after, 1):
        with contextlib.suppress(Crash):
            Driver(make_search(spec, other), other, crash_after=cut).run()
    rebuilt = make_search(spec, other)
    Driver(rebuilt, other).run()
    assert proposals_of(other) == proposals_of(ledger)
    assert trials_of(rebuilt) == trials_of(live)
    assert rebuilt.spent_budget() == live.spent_budget()


@pytest.mark.parametrize("sampler", SAMPLERS)
@examples
@given(data=st.data())
def test_a_studys_counts_are_the_ledgers(sampler, data):
    """Trials of the study = evaluations + proposals whose own step was not evaluated under them.

    Of these, the ones that ended a trial as infeasible are complete, with infinite values; the others failed: their
    trial did, or the ledger knew the step already.
    """
    spec = data.draw(specs(sampler))
    search, ledger = run_whole(spec)
    (stratum,) = search.studies.values()
    evaluated, seen = defaultdict(set), defaultdict(set)
    for row in ledger.table("evaluations").to_pylist():
        if row["step"] in spec.steps:  # every trial has the base model's row too
            evaluated[row["trial_id"]].add(row["step"])
    told, infeasible, failed, reach = Counter(), 0, 0, {}
    rows = {row["trial_id"]: row for row in ledger.trials()}
    for _, stored, trial_id in proposals_of(ledger):
        proposal = Proposal(**stored)
        steps = stratum.config_of(proposal)[1]
        new = evaluated[trial_id] & set(steps) - seen[trial_id]
        went_further = reach.get(trial_id, -1) < steps[-1] <= rows[trial_id]["target_step"]
        if spec.steps[proposal.step_index] not in new:
            ended_it = rows[trial_id]["status"] in INFEASIBLE and (new or went_further)
            infeasible += bool(ended_it)
            failed += not ended_it
        seen[trial_id] |= new
        reach[trial_id] = max(steps[-1], reach.get(trial_id, -1))
        told[trial_id] += len(new)
    evaluations = sum(map(len, evaluated.values()))
    assert sum(told.values()) == evaluations, "every evaluation is told once"
    counts = Counter(trial.state for trial in stratum.study.trials)
    assert counts == Counter({TrialState.COMPLETE: evaluations + infeasible, TrialState.FAIL: failed})


@pytest.mark.parametrize("sampler", BY_NUMBER)
@examples
@given(data=st.data())
def test_what_does_not_look_at_results_proposes_the_same_with_many_at_once_and_cut(sampler, data):
    spec = data.draw(specs(sampler))
    one_at_a_time = {number: (p["point"], p["step_index"]) for number, p, _ in proposals_of(run_whole(spec)[1])}
    ledger = memory_ledger()
    for at_once in (4, 3, 2):
        search = make_search(spec, ledger, concurrent_trials=at_once)
        driver = Driver(search, ledger)
        running = []
        for _ in range(data.draw(st.integers(1, 12), label="turns") if at_once > 2 else 99):
            while (assignment := search.next()) is not None:
                running.append(assignment)
            if not running:
                break
            driver.finish(running.pop(data.draw(st.integers(0, len(running) - 1), label="which ends")))
    assert search.is_exhausted()
    assert not {t.state for t in study_of(search).trials} & {TrialState.RUNNING, TrialState.WAITING}
    found = {number: (p["point"], p["step_index"]) for number, p, _ in proposals_of(ledger)}
    assert found.items() <= one_at_a_time.items()
    assert {repr(point) for point, _ in found.values()} == {repr(point) for point, _ in one_at_a_time.values()}


@pytest.mark.parametrize("sampler", SAMPLERS)
@examples
@given(data=st.data())
def test_a_finished_sweep_extends(sampler, data):
    """More trials and further steps: earlier proposals stay, and what follows is the same on every machine."""
    spec = data.draw(specs(sampler))
    ledger = memory_ledger()
    Driver(make_search(spec, ledger), ledger).run()
    before = proposals_of(ledger)
    longer = {**spec.model_dump(mode="json"), "steps": [*spec.steps, 12], "seeds": [*spec.seeds, 7]}
    if sampler not in LISTING:
        longer["search"]["trials"] += 3
    longer = make_spec(**longer)
    first, again = make_search(longer, ledger), make_search(longer, ledger)
    name = next(iter(first.studies))
    assert first.studies[name].proposed == len(before)
    for trial in first.studies[name].study.trials:
        assert trial.distributions["step_index"].high == len(longer.steps) - 1
    following = [first.studies[name].propose() for _ in range(first.studies[name].trials - len(before))]
    assert following == [again.studies[name].propose() for _ in following]
    assert [proposal.number for proposal in following] == list(range(len(before), first.studies[name].trials))
    if sampler in BY_NUMBER:
        fresh = make_search(longer, memory_ledger()).studies[name]
        points = [fresh.propose() for _ in range(fresh.trials)]
        assert [p.point for p in points] == [stored["point"] for _, stored, _ in before] + [p.point for p in following]


def sampled_extents(seed, rates, **search):
    space = {"batch_size": 4, "learning_rate": rates}
    search = {"sampler": "random", "trials": 12, "extent": "sampled", "seed": seed, "space": space, **search}
    return make_spec(data={"forget_sets": ONE_FORGET_SET}, search=search)


def test_a_trial_that_diverges_as_soon_as_it_goes_further_comes_back_as_it_was_told():
    for seed in range(4):
        spec = sampled_extents(seed, [6e-3, 7e-3])
        live, ledger = run_whole(spec)
        assert trials_of(make_search(spec, ledger)) == trials_of(live)


def test_with_many_at_once_every_evaluation_is_made_that_one_at_a_time_makes():
    spec = sampled_extents(0, [1e-5, 2e-5])
    _, one_at_a_time = run_whole(spec)
    ledger = memory_ledger()
    search = make_search(spec, ledger, concurrent_trials=4)
    driver = Driver(search, ledger)
    running = []
    while not search.is_exhausted() or running:
        while (assignment := search.next()) is not None:
            running.append(assignment)
        driver.finish(running.pop(0))

    def evaluated(of):
        return {(row["trial_id"], row["step"]) for row in of.table("evaluations").to_pylist()}

    assert evaluated(ledger) == evaluated(one_at_a_time)


def test_a_grid_that_is_another_one_says_so():
    with pytest.raises(SweepError, match="the grid has 2 points, found 3"):
        make_spec(search={"sampler": "grid", "trials": 3, "space": {"batch_size": 4, "learning_rate": [1e-3, 1e-4]}})


def lose(ledger, trial_ids, *tables):
    for trial_id in trial_ids:
        for table in ("trials", *tables):
            ledger.storage.remove(f"{table}/{trial_id}.parquet")


def shortened(spec, ledger, count):
    """Run the first ``count`` trials of a sweep, in order."""
    driver = Driver(make_search(spec, ledger), ledger)
    for _ in range(count):
        driver.start(assignment := driver.search.next())
        driver.finish(assignment)
    return driver


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_last_trials_whose_rows_are_lost_are_proposed_again_and_their_evaluations_told(sampler):
    """They leave no gap in the numbers. One at a time, what is proposed is a function of what was told before."""
    spec = lossy_spec(sampler)
    live, whole = run_whole(spec)
    ledger = memory_ledger()
    done = shortened(spec, ledger, 7).started
    lose(ledger, [assignment.trial.trial_id for assignment in done[-2:]])
    search = make_search(spec, ledger)
    Driver(search, ledger).run()
    assert proposals_of(ledger) == proposals_of(whole)
    assert trials_of(search) == trials_of(live)
    assert trials_of(make_search(spec, ledger)) == trials_of(live)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_rows_that_are_lost_in_the_middle_are_told_where_they_stood(sampler):
    spec = lossy_spec(sampler)
    live, whole = run_whole(spec)
    ledger = memory_ledger()
    done = shortened(spec, ledger, 8).started
    lose(ledger, [assignment.trial.trial_id for assignment in (done[1], done[4], done[5], done[7])])
    search = make_search(spec, ledger)
    Driver(search, ledger).run()
    assert proposals_of(ledger) == proposals_of(whole)
    assert trials_of(search) == trials_of(live)


@pytest.mark.filterwarnings("ignore::orchestrator.errors.LedgerWarning")
@pytest.mark.parametrize("also", [["evaluations", "examples"], ["evaluations"], ["examples"]])
@pytest.mark.parametrize("noted", [True, False])
def test_of_a_lost_trial_whose_other_rows_are_lost_too_all_runs_again(also, noted, monkeypatch):
    if not noted:
        monkeypatch.setattr(growing, "_PROPOSED", [])
    spec = lossy_spec("tpe")
    live, whole = run_whole(spec)
    ledger = memory_ledger()
    done = shortened(spec, ledger, 6).started
    lose(ledger, [done[-1].trial.trial_id], *also)
    repair_ledger(ledger)
    search = make_search(spec, ledger)
    Driver(search, ledger).run()
    assert proposals_of(ledger) == proposals_of(whole)
    assert trials_of(search) == trials_of(live)


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga3", "cmaes"])
def test_rows_of_trials_that_ran_side_by_side_come_back_from_their_evaluations(sampler):
    """What a study knew when it proposed one of several at once, nobody can tell later."""
    spec = lossy_spec(sampler)
    ledger = memory_ledger()
    search = make_search(spec, ledger, concurrent_trials=3)
    driver, running = Driver(search, ledger), []
    while not search.is_exhausted() or running:
        while len(running) < 3 and (assignment := search.next()) is not None:
            running.append(assignment)
        driver.finish(running.pop(0))
    ran, known = proposals_of(ledger), trials_of(make_search(spec, ledger))
    rows = {row["trial_id"]: row for row in ledger.trials()}
    lose(ledger, [trial_id for trial_id, row in rows.items() if row["number"] in (2, 6, 7, 12, 13)])
    repair_ledger(ledger)
    search = make_search(spec, ledger)
    Driver(search, ledger).run()
    assert proposals_of(ledger) == ran
    assert trials_of(search) == known
    volatile = {"started_at", "ended_at", "host"}
    for row in ledger.trials():
        assert {k: v for k, v in row.items() if k not in volatile} == {
            k: v for k, v in rows[row["trial_id"]].items() if k not in volatile
        }


@pytest.mark.parametrize("noted", [[], ["trial_id", "number"]])
def test_a_lost_row_of_which_nothing_whole_is_noted_is_proposed_again(noted, monkeypatch):
    spec = lossy_spec("tpe")
    live, whole = run_whole(spec)
    ledger = memory_ledger()
    with monkeypatch.context() as patch:
        patch.setattr(growing, "_PROPOSED", noted)
        done = shortened(spec, ledger, 6).started
    lose(ledger, [done[-1].trial.trial_id])
    repair_ledger(ledger)
    search = make_search(spec, ledger)
    assert len(search.statuses) == 5
    Driver(search, ledger).run()
    assert proposals_of(ledger) == proposals_of(whole)
    assert trials_of(search) == trials_of(live)


@pytest.mark.parametrize("noted", [b"no JSON", b"[]", b"7", b"\xff", b'{"unknown": 1}'])
def test_what_is_noted_of_a_trial_may_be_damaged(noted):
    rows = TABLES["evaluations"].empty_table().replace_schema_metadata({"unlearn_sweep_trial": noted})
    assert proposed_trial(encode(rows)) == {}
    assert proposed_trial(encode(rows)[:100]) == {}


def lossy_spec(sampler):
    search = {"sampler": sampler, "startup_trials": 2, "population_size": 8, "trials": 14, "space": RANGES}
    if sampler == "cmaes":
        search["minimize"] = "unlearning_quality"
    if sampler in LISTING:
        search["trials"] = None
    return make_spec(data={"forget_sets": ONE_FORGET_SET}, steps=[0, 2, 5], search=search)


RANGES = {
    "batch_size": 4,
    "learning_rate": {"low": 1e-5, "high": 6e-3, "log": True, "grid_points": 4},
    "weight_decay": {"low": 0.0, "high": 0.1, "grid_points": 3},
}
