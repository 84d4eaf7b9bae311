"""One study for a forget set: every proposal runs on every seed, and the study is told the mean."""

import json
import math
from collections import Counter

import pytest
from optuna.trial import TrialState
from rich.console import Console

from orchestrator.cli.tables import plan_table
from orchestrator.plan import plan_sweep
from orchestrator.query import query
from orchestrator.search.sampling.samplers import STEP_INDEX
from orchestrator.spec import amend_spec, dump_spec, stored_spec
from tests.orchestrator.helpers import (
    FEW_POINTS,
    Crash,
    Driver,
    evaluation_record,
    make_search,
    make_spec,
    memory_ledger,
    told,
    write_sweep,
)
from tests.orchestrator.search.test_search import observations, rows, states
from trainables.records import Status

SEEDS = [0, 1, 2]
TAME = {"batch_size": 4, "learning_rate": {"low": 1e-6, "high": 1e-4, "log": True}}
"""A space in which every invented trial completes."""


def across(sampler="tpe", seeds=SEEDS, **search):
    defaults = {"sampler": sampler, "across": "seeds", "trials": 5, "startup_trials": 2, "population_size": 4}
    return make_spec(seeds=seeds, search=defaults | search)


def ran(spec, **options):
    ledger = memory_ledger()
    search = make_search(spec, ledger, **options)
    order = Driver(search, ledger).run()
    return search, ledger, order


def means(spec, ledger, forget_set):
    """What a study of the forget set must have been told, by the slow way: a mean of rows that all seeds have."""
    trials = {row["trial_id"]: row for row in ledger.trials() if row["forget_set"] == forget_set}
    groups = {}
    for row in rows(ledger):
        if row["trial_id"] in trials and row["step"] in spec.steps:
            key = (trials[row["trial_id"]]["setting_id"], row["step"])
            groups.setdefault(key, []).append((row["unlearning_quality"], row["performance"]))
    return sorted(
        (spec.steps.index(step), *(math.fsum(column) / len(column) for column in zip(*group, strict=True)))
        for (_, step), group in groups.items()
        if len(group) == len(spec.seeds)
    )


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2", "cmaes"])
def test_every_setting_runs_on_every_seed_and_the_study_is_told_the_mean(sampler):
    fields = {"space": TAME, "minimize": "unlearning_quality"} if sampler == "cmaes" else {}
    spec = across(sampler, **fields)
    search, ledger, order = ran(spec)
    assert set(search.studies) == {"verses", "people"}
    assert search.is_exhausted()
    assert search.total == 2 * 3 * 5
    assert len(order) == len(set(order)) == len({row["setting_id"] for row in ledger.trials()}) * 3
    seeds_of = {}
    for row in ledger.trials():
        seeds_of.setdefault((row["forget_set"], row["setting_id"]), set()).add(row["seed"])
        assert row["stratum"] == f"{row['forget_set']}/seed={row['seed']}"
    assert all(seeds == set(SEEDS) for seeds in seeds_of.values())
    for name, searched in search.studies.items():
        assert not states(searched.study) & {TrialState.RUNNING, TrialState.WAITING}
        found = sorted(
            (params[STEP_INDEX], *values) for params, values, _ in observations(searched.study) if values[0] < math.inf
        )
        expected = means(spec, ledger, name)
        assert len(expected) > 5, "the check would be empty"
        if sampler == "cmaes":
            expected = sorted((index, quality) for index, quality, _ in expected)
        assert found == expected


def test_a_seed_that_collapsed_makes_the_mean_infeasible_and_steps_it_never_reached_are_not_told():
    spec = make_spec(
        seeds=[0, 1], data={"forget_sets": {"verses": {"distribution": "in", "size": 4, "population": 8}}},
        search={"across": "seeds", "trials": 1},
    )  # fmt: skip
    ledger = memory_ledger()
    search = make_search(spec, ledger)
    for collapses_at in (5, None):
        assignment = search.next()
        for step in (0, 2, 5, 9):
            status = Status.COLLAPSED if step == collapses_at else Status.COMPLETED
            search.observe(assignment, told(evaluation_record(step, quality=step + 1.0, status=status)))
            if status is Status.COLLAPSED:
                break
        search.end(assignment, status)
    (searched,) = search.studies.values()
    by_step = {params[STEP_INDEX]: (values, found) for params, values, found in observations(searched.study)}
    assert by_step[0] == ([1.0, 3.0], {"feasible": 0.0})
    assert by_step[2][0] == [6.0, 3.0]
    assert by_step[2][1]["feasible"] > 0, "one of the two collapsed there"
    assert by_step[3] == ([math.inf, math.inf], {"feasible": 1.0}), "where the proposal was to go lies beyond"


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_a_search_cut_off_anywhere_goes_on_as_an_unbroken_one(sampler):
    spec = across(sampler, seeds=[0, 1], trials=4)
    live, ledger, order = ran(spec)
    events = len(order) + sum(row["step"] in spec.steps for row in rows(ledger))
    for cut in range(1, events, 11):  # at every event of a trial, of which it has five or fewer
        other = memory_ledger()
        driver = Driver(make_search(spec, other), other, crash_after=cut)
        with pytest.raises(Crash):
            driver.run()
        search = make_search(spec, other)
        Driver(search, other).run()
        assert rows(other) == rows(ledger), f"cut {cut}"
        assert rows(other, "trials") == rows(ledger, "trials"), f"cut {cut}"
        for name, searched in search.studies.items():
            assert observations(searched.study) == observations(live.studies[name].study), f"cut {cut}"


def test_with_several_at_once_the_seeds_of_a_proposal_run_side_by_side():
    search = make_search(across(), memory_ledger(), concurrent_trials=6)
    running = [search.next() for _ in range(6)]
    assert {(a.trial.forget_set, a.trial.seed) for a in running} == {
        (name, seed) for name in ("verses", "people") for seed in SEEDS
    }
    assert len({a.trial.config.learning_rate for a in running}) == 2
    assert search.next() is None


def test_a_seed_whose_row_the_ledger_lost_runs_again_and_the_proposals_stay():
    spec = across()
    _, ledger, order = ran(spec)
    before = rows(ledger, "trials")
    lost = order[7]
    for file in ("trials", "evaluations", "examples"):
        for name in ledger.storage.files(file, ".parquet"):
            if lost in name:
                ledger.storage.remove(f"{file}/{name.removeprefix(f'{file}/')}")
    assert len(ledger.trials()) == len(before) - 1
    search = make_search(spec, ledger)
    assert not search.is_exhausted()
    assert Driver(search, ledger).run() == [lost]
    assert rows(ledger, "trials") == before


def test_a_new_seed_runs_every_setting_that_the_others_had():
    spec = across(seeds=[0, 1], trials=3)
    _, ledger, order = ran(spec)
    longer = amend_spec(spec, ["seeds=[0,1,2]"])
    search = make_search(longer, ledger)
    added = Driver(search, ledger).run()
    assert not set(added) & set(order)
    assert {row["seed"] for row in ledger.trials() if row["trial_id"] in added} == {2}
    settings = {(row["forget_set"], row["setting_id"]) for row in ledger.trials()}
    assert len(added) == len(settings)
    for name, searched in search.studies.items():
        found = sorted(
            (p[STEP_INDEX], *values) for p, values, _ in observations(searched.study) if values[0] < math.inf
        )
        assert found == means(longer, ledger, name)


def test_a_longer_axis_and_more_trials_go_on_for_every_seed():
    spec = across(space=TAME, trials=2)
    _, ledger, order = ran(spec)
    longer = amend_spec(spec, ["steps=[0,2,5,9,12]", "search.trials=3"])
    search = make_search(longer, ledger)
    again = Driver(search, ledger).run()
    assert set(again) >= set(order)
    assert len(again) == 3 * 2 * 3
    assert {row["last_step"] for row in ledger.trials()} == {12}
    for name, searched in search.studies.items():
        found = sorted((p[STEP_INDEX], *values) for p, values, _ in observations(searched.study))
        assert found == means(longer, ledger, name)


def test_a_setting_that_is_proposed_again_runs_no_seed_twice_and_the_search_ends():
    spec = across("random", space=FEW_POINTS, trials=None, budget={"max_wall": "1h"})
    search, _, order = ran(spec)
    assert len(order) == len(set(order)) == 3 * 2 * 3
    assert search.is_exhausted()


def test_a_failed_seed_leaves_no_mean_of_the_others():
    spec = across(seeds=[0, 1], trials=1, space=TAME)
    spec = spec.model_copy(update={"resources": spec.resources.model_copy(update={"max_failures": 0})})
    ledger = memory_ledger()
    search = make_search(spec, ledger)
    driver = Driver(search, ledger)
    while (assignment := search.next()) is not None:
        if assignment.trial.seed == 0:
            search.fail(assignment, "killed")
        else:
            driver.finish(assignment)
    for rebuilt in (search, make_search(spec, ledger)):
        for searched in rebuilt.studies.values():
            assert observations(searched.study) == []
            assert states(searched.study) == {TrialState.FAIL}
        assert rebuilt.is_exhausted()


def test_steps_of_the_budget_hold_for_all_seeds_of_a_proposal():
    spec = across("random", trials=None, space=TAME, budget={"max_steps_total": 9 * 6 * 2 + 5})
    search, ledger, order = ran(spec)
    assert len(order) == 12, "two proposals of each forget set"
    assert sum(row["last_step"] for row in ledger.trials()) <= 9 * 6 * 2 + 5
    assert search.spent_budget()


def test_a_seed_that_is_new_to_a_sweep_takes_only_what_is_left_of_the_budget():
    spec = across("random", seeds=[0, 1], trials=None, space=TAME, budget={"max_steps_total": 9 * 4 * 3})
    _, ledger, order = ran(spec)
    assert len(order) == 12, "three proposals of each forget set"
    for limit, more in ((12, 0), (15, 3), (24, 9)):
        wider = amend_spec(spec, ["seeds=[0,1,2]", f"search.budget.max_steps_total={9 * limit}"])
        search = make_search(wider, ledger)
        assert len(Driver(search, ledger).run()) == more, limit
        assert search.is_exhausted()
        assert search.next() is None
        assert f"{9 * limit} of {9 * limit} steps are spent" in search.spent_budget()[0]
        assert sum(row["last_step"] for row in ledger.trials()) == 9 * limit
    seeds_of = Counter((row["forget_set"], row["setting_id"]) for row in ledger.trials())
    assert set(seeds_of.values()) == {3}, "what was kept back ran before anything new"


def test_a_budget_says_what_it_keeps_back_where_every_setting_was_proposed():
    spec = across("random", seeds=[0, 1], trials=2, space=TAME, budget={"max_steps_total": 9 * 2 * 4})
    search, ledger, _ = ran(spec)
    assert search.spent_budget() == [], "every trial ran"
    search = make_search(amend_spec(spec, ["seeds=[0,1,2]"]), ledger)
    assert search.is_exhausted()
    assert "72 of 72 steps are spent" in search.spent_budget()[0]


@pytest.fixture(scope="module")
def spent():
    """A budget that nobody interrupted: the spec, and its ledger."""
    spec = across(trials=None, space=TAME, budget={"max_steps_total": 9 * 6 * 3 + 40})
    return spec, ran(spec)[1]


@pytest.mark.parametrize("cut", range(1, 90, 17))
def test_a_budget_that_was_cut_off_anywhere_is_spent_as_an_unbroken_one(cut, spent):
    spec, ledger = spent
    other = memory_ledger()
    with pytest.raises(Crash):
        Driver(make_search(spec, other), other, crash_after=cut).run()
    Driver(make_search(spec, other), other).run()
    assert rows(other, "trials") == rows(ledger, "trials")


def test_a_sweep_of_before_there_was_the_key_goes_on_with_a_study_for_each_stratum(tmp_path):
    spec = make_spec(search={"across": "each"})
    ledger = memory_ledger()
    text = dump_spec(spec)
    assert "  across: each\n" in text
    ledger.manifest.create(text.replace("  across: each\n", ""), {"sweep": spec.name}, {})
    assert stored_spec(ledger) == spec
    ledger.manifest.create(dump_spec(across()), {"sweep": spec.name}, {})
    assert stored_spec(ledger).search.across == "seeds"


def test_a_new_spec_searches_across_replicates_and_seeds():
    space = {"sampler": "random", "trials": 2, "space": TAME}
    data = make_spec(search=space).model_dump(mode="json")
    del data["search"]["across"]
    assert type(make_spec()).model_validate(data).search.across == "replicates"


@pytest.mark.parametrize(
    ("mode", "studies", "words"), [("seeds", 2, "every proposal on every seed"), ("each", 6, "seed")]
)
def test_the_plan_says_what_is_searched(mode, studies, words, capsys):
    plan = plan_sweep(across().model_copy(update={"search": across(across=mode).search}), concurrent_trials=1)
    assert (plan.as_json()["across"], plan.as_json()["studies"], plan.trials) == (mode, studies, 30)
    json.dumps(plan.as_json())
    Console(width=120).print(plan_table(plan))
    assert words in capsys.readouterr().out


def test_a_mean_over_seeds_at_one_setting_has_rows(tmp_path):
    ledger = write_sweep(tmp_path, across(space=TAME))
    found = query(
        [ledger],
        "select forget_set, setting_id, step, count(distinct seed) as seeds, avg(performance) as performance "
        "from evaluations group by all having seeds = 3",
    )
    assert found.num_rows == 2 * 5 * 4


def test_rows_of_the_base_model_are_told_to_no_study():
    spec = make_spec(seeds=SEEDS, steps=[2, 5], search={"across": "seeds", "space": TAME})
    search, ledger, _ = ran(spec)
    assert {row["step"] for row in rows(ledger)} == {0, 2, 5}
    for name, searched in search.studies.items():
        found = sorted((p[STEP_INDEX], *values) for p, values, _ in observations(searched.study))
        assert found == means(spec, ledger, name)
