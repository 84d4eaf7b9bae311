"""The search without Ray: what is proposed, what the studies are told, and what the ledger gives back.

Invented trials run through the real ledger; ``helpers.Driver`` stands in for Tune.
"""

import itertools
import math

import pytest
from optuna.trial import TrialState

from orchestrator.ledger import DriverWriter, TrialWriter
from orchestrator.search.sampling.samplers import STEP_INDEX
from search_spaces import grid, settings
from tests.orchestrator.helpers import (
    FEW_POINTS,
    Crash,
    Driver,
    evaluation_record,
    invent,
    make_search,
    make_spec,
    memory_ledger,
    outcome,
    told,
)
from trainables.records import TIMES, Status

SAMPLERS = ("grid", "random", "qmc", "tpe", "nsga2", "gp")
LISTS = {
    "batch_size": [2, 4],
    "optimizer": {
        "choices": {
            "adamw": {"learning_rate": [1e-4, 1e-3, 9e-3]},
            "sgd": {"learning_rate": [1e-3], "momentum": [0.0, 0.9]},
        }
    },
}


def spec_for(sampler, **search):
    """Two strata, and enough trials that TPE models and NSGA-II breeds generations."""
    if sampler == "grid":
        return make_spec(search={"sampler": "grid", "trials": None, "space": LISTS, **search})
    trials = 4 if sampler == "gp" else 7  # a proposal of the Gaussian process takes a second
    defaults = {"sampler": sampler, "trials": trials, "startup_trials": 2, "population_size": 4}
    return make_spec(search=defaults | search)


def observations(study):
    """Every trial of a study that has values: parameters, values, feasibility."""
    return [
        (dict(trial.params), trial.values, trial.constraints)
        for trial in study.get_trials(deepcopy=False)
        if trial.state is TrialState.COMPLETE
    ]


def states(study):
    return {trial.state for trial in study.get_trials(deepcopy=False)}


def rows(ledger, table="evaluations"):
    volatile = {"started_at", "ended_at", "host", "elapsed_s", *TIMES}
    keep = [name for name in ledger.table(table).column_names if name not in volatile]
    return sorted(ledger.table(table).select(keep).to_pylist(), key=lambda row: (row["trial_id"], row.get("step", 0)))


def ran(spec):
    ledger = memory_ledger()
    search = make_search(spec, ledger)
    order = Driver(search, ledger).run()
    return search, ledger, order


@pytest.fixture(scope="module", params=SAMPLERS)
def whole(request):
    """A whole sweep, and how it went."""
    spec = spec_for(request.param)
    return spec, *ran(spec)


def test_the_same_history_gives_the_same_proposals(whole):
    spec, _, ledger, order = whole
    _, ledger_again, order_again = ran(spec)
    assert order_again == order
    assert rows(ledger_again, "trials") == rows(ledger, "trials")


def test_the_search_seed_matters(whole):
    spec, _, _, order = whole
    if spec.search.sampler == "grid":
        assert ran(spec_for("grid", seed=1))[2] == order
    else:
        assert not set(ran(spec_for(spec.search.sampler, seed=1))[2]) & set(order)


def test_every_trial_runs_once_and_the_budget_is_spent(whole):
    spec, search, ledger, order = whole
    assert search.is_exhausted()
    assert len(order) == len(set(order))
    assert all(stratum.proposed == stratum.trials for stratum in search.studies.values())
    if spec.search.sampler != "nsga2":  # its crossover may repeat a parent, which is a cache hit
        assert len(order) == search.total
    assert {row["trial_id"] for row in rows(ledger, "trials")} == set(order)
    assert set(search.statuses) == set(order)


def test_strata_take_turns_and_share_nothing(whole):
    _, search, ledger, _ = whole
    assert set(search.studies) == {"verses/seed=0", "people/seed=0"}
    for name, stratum in search.studies.items():
        own = [row for row in rows(ledger) if row["stratum"] == name]
        told_values = sorted(tuple(values) for _, values, _ in observations(stratum.study) if math.isfinite(values[0]))
        assert told_values == sorted((row["unlearning_quality"], row["performance"]) for row in own)


def test_nothing_stays_running(whole):
    _, search, _, _ = whole
    for stratum in search.studies.values():
        assert not states(stratum.study) & {TrialState.RUNNING, TrialState.WAITING}


def test_every_evaluated_step_is_one_observation_of_its_own_step_index(whole):
    spec, search, ledger, _ = whole
    for name, stratum in search.studies.items():
        expected = sorted(
            (spec.steps.index(row["step"]), row["unlearning_quality"], row["performance"])
            for row in rows(ledger)
            if row["stratum"] == name
        )
        found = sorted(
            (params[STEP_INDEX], *values) for params, values, _ in observations(stratum.study) if values[0] < math.inf
        )
        assert found == expected
        assert len(found) > search.total // 2, "the check would be empty"


def test_collapsed_is_infeasible_diverged_is_infinite_and_neither_is_best(whole):
    _, search, ledger, _ = whole
    collapsed = {(r["unlearning_quality"], r["performance"]) for r in rows(ledger) if r["status"] == "collapsed"}
    assert collapsed, "the check would be empty"
    for stratum in search.studies.values():
        best = stratum.study.best_trials
        assert best
        assert all(math.isfinite(value) for trial in best for value in trial.values)
        assert not {tuple(trial.values) for trial in best} & collapsed
        for _, values, constraints in observations(stratum.study):
            assert not any(map(math.isnan, values))
            infeasible = tuple(values) in collapsed or math.inf in values
            assert (max(constraints.values()) > 0) == infeasible


def cut_points(whole):
    _, _, ledger, order = whole
    last = len(order) + ledger.table("evaluations").num_rows
    return (1, last // 2, last - 1)


def test_a_search_rebuilt_from_the_ledger_goes_on_exactly_as_the_live_one(whole):
    spec, live, ledger, order = whole
    for cut in cut_points(whole):
        other = memory_ledger()
        driver = Driver(make_search(spec, other), other, crash_after=cut)
        with pytest.raises(Crash):
            driver.run()
        before = [assignment.trial.trial_id for assignment in driver.started]
        unfinished = [row["trial_id"] for row in other.trials() if row["status"] is None]
        search = make_search(spec, other)
        after = Driver(search, other).run()
        assert after[: len(unfinished)] == unfinished, f"cut {cut}: interrupted trials come first"
        assert before + after[len(unfinished) :] == order, f"cut {cut}: the same trials in the same order"
        assert rows(other) == rows(ledger)
        assert rows(other, "trials") == rows(ledger, "trials")
        for name, stratum in search.studies.items():
            assert not states(stratum.study) & {TrialState.RUNNING, TrialState.WAITING}
            assert observations(stratum.study) == observations(live.studies[name].study), f"cut {cut}"


def test_generations_of_nsga2_survive_the_ledger():
    spec = spec_for("nsga2")
    live, ledger, _ = ran(spec)
    rebuilt = make_search(spec, ledger)

    def generations(search):
        return {
            name: [
                (trial.values, {key: v for key, v in trial.system_attrs.items() if key.endswith(":generation")})
                for trial in stratum.study.get_trials(deepcopy=False)
                if trial.state is TrialState.COMPLETE
            ]
            for name, stratum in search.studies.items()
        }

    assert generations(rebuilt) == generations(live)
    numbers = {v for notes in generations(live).values() for _, note in notes for v in note.values()}
    assert len(numbers) > 1, "the check would be empty"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_trials_cut_off_while_several_run_all_come_back_first(sampler):
    spec = spec_for(sampler)
    ledger = memory_ledger()
    search = make_search(spec, ledger, concurrent_trials=4)
    driver = Driver(search, ledger)
    for _ in range(2):
        driver.finish(search.next())
    running = [search.next() for _ in range(4)]
    assert search.next() is None
    assert not search.is_exhausted()
    records, _ = invent(running[0].trial)
    TrialWriter(ledger).publish(running[0].trial.trial_id, records[:1], [], None)
    TrialWriter(ledger).publish(running[1].trial.trial_id, [], [], outcome(Status.STOPPED, last_step=0))

    rebuilt = make_search(spec, ledger, concurrent_trials=4)
    assert len(rebuilt.statuses) == 2
    back = [rebuilt.next() for _ in range(4)]
    assert {a.trial for a in map(_hashable, back)} == {a.trial for a in map(_hashable, running)}
    assert rebuilt.next() is None
    driver = Driver(rebuilt, ledger)
    for assignment in back:
        driver.finish(assignment)
    driver.run()
    assert rebuilt.is_exhausted()
    assert len(rebuilt.statuses) == len(ledger.trials())
    for stratum in rebuilt.studies.values():
        assert not states(stratum.study) & {TrialState.RUNNING, TrialState.WAITING}


class _hashable:
    def __init__(self, assignment):
        trial = assignment.trial
        self.trial = (trial.trial_id, trial.forget_set, trial.seed, trial.steps, trial.horizon, str(trial.config))


def test_a_trial_that_diverges_at_once_is_told_as_infeasible_live_and_replayed():
    spec = make_spec(search={"trials": 1})
    ledger = memory_ledger()
    live = make_search(spec, ledger)
    while (assignment := live.next()) is not None:
        TrialWriter(ledger).publish(assignment.trial.trial_id, [], [], outcome(Status.DIVERGED, last_step=0))
        live.end(assignment, Status.DIVERGED)
    for search in (live, make_search(spec, ledger)):
        for stratum in search.studies.values():
            ((_, values, constraints),) = observations(stratum.study)
            assert values == [math.inf, math.inf]
            assert max(constraints.values()) > 0


def test_a_failed_trial_is_no_observation_and_is_not_run_again():
    spec = make_spec(search={"trials": 1})
    ledger = memory_ledger()
    live = make_search(spec, ledger)
    while (assignment := live.next()) is not None:
        DriverWriter(ledger).fail(assignment.trial.trial_id, "the worker died")
        live.end(assignment, Status.FAILED)
    for search in (live, make_search(spec, ledger)):
        assert search.is_exhausted()
        assert search.next() is None
        for stratum in search.studies.values():
            assert states(stratum.study) == {TrialState.FAIL}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_never_a_feasible_observation(bad):
    """Whoever publishes it: minus infinity would be the best value there is, and a NaN leaves a trial running."""
    spec = make_spec(search={"trials": 1})
    ledger = memory_ledger()
    search = make_search(spec, ledger)
    assignment = search.next()
    for step in spec.steps:
        search.observe(assignment, told(evaluation_record(step, quality=bad)))
    search.end(assignment, Status.COMPLETED)
    study = search.studies[assignment.stratum].study
    assert TrialState.RUNNING not in states(study)
    for _, values, constraints in observations(study):
        assert not math.isnan(values[0])
        assert values[0] != -math.inf
        assert max(constraints.values()) > 0


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_a_repeated_proposal_is_a_cache_hit_and_the_loop_ends(sampler):
    spec = spec_for(sampler, trials=12, space=FEW_POINTS)
    search, ledger, order = ran(spec)
    assert search.is_exhausted()
    for name in search.studies:
        own = [row["trial_id"] for row in ledger.trials() if row["stratum"] == name]
        assert 1 <= len(own) <= 3
        assert len(set(own)) == len(own)
    assert len(order) == len(ledger.trials())
    for stratum in search.studies.values():
        assert not states(stratum.study) & {TrialState.RUNNING, TrialState.WAITING}


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_repeated_proposals_do_not_change_what_a_rebuilt_search_proposes(sampler):
    space = {"batch_size": [1, 2, 4], "learning_rate": [1e-4, 5e-4, 1e-3], "weight_decay": [0.0, 0.1]}
    spec = spec_for(sampler, trials=14, space=space)
    _, ledger, order = ran(spec)
    assert len(order) < 28, "the check would be empty"
    events = len(order) + ledger.table("evaluations").num_rows
    for cut in (events // 2, events * 3 // 4, events - 1):
        other = memory_ledger()
        driver = Driver(make_search(spec, other), other, crash_after=cut)
        with pytest.raises(Crash):
            driver.run()
        Driver(make_search(spec, other), other).run()
        assert [row["trial_id"] for row in other.trials()] == [row["trial_id"] for row in ledger.trials()], cut


def test_a_repeated_proposal_is_told_to_the_study_or_dropped_but_never_a_second_row_while_it_runs():
    spec = spec_for("random", trials=12, space={"batch_size": 4, "learning_rate": [1e-4]})
    ledger = memory_ledger()
    search = make_search(spec, ledger, concurrent_trials=8)
    running = [search.next() for _ in range(2)]
    assert {a.stratum for a in running} == set(search.studies)
    assert search.next() is None
    for assignment in running:
        Driver(search, ledger).finish(assignment)
    assert search.next() is None
    assert search.is_exhausted()
    assert len(ledger.trials()) == 2


def test_a_grid_covers_every_point_once_in_every_stratum():
    spec = make_spec(seeds=[0, 1], steps=[5], search={"sampler": "grid", "trials": None, "space": LISTS})
    _, ledger, _ = ran(spec)
    expected = sorted(
        sorted((k, v) for k, v in settings(spec.space, point).items() if k != "momentum") for point in grid(spec.space)
    )
    assert len(expected) == 2 * (3 + 2)
    for forget_set, seed in itertools.product(("verses", "people"), (0, 1)):
        own = [r for r in ledger.trials() if (r["forget_set"], r["seed"]) == (forget_set, seed)]
        found = sorted([("batch_size", r["batch_size"]), ("learning_rate", r["learning_rate"]), ("optimizer", r["optimizer"])] for r in own)  # fmt: skip # noqa: E501
        assert found == expected
        assert [row["number"] for row in own] == list(range(len(expected)))


def test_where_a_schedule_needs_the_total_each_step_value_is_a_trial_of_its_own():
    space = {"batch_size": 4, "learning_rate": [1e-4, 1e-3], "schedule": "linear"}
    spec = make_spec(steps=[2, 5, 9], search={"sampler": "grid", "trials": None, "space": space})
    search, ledger, _ = ran(spec)
    trials = ledger.trials()
    assert search.total == len(trials) == 2 * 2 * 3
    expected = sorted(itertools.product([1e-4, 1e-3], [2, 5, 9])) * 2
    assert sorted((r["learning_rate"], r["horizon"]) for r in trials) == sorted(expected)
    assert all(row["target_step"] == row["horizon"] for row in trials)
    steps = [(row["trial_id"], step) for row in trials for step in (0, row["horizon"])]
    evaluated = [(row["trial_id"], row["step"]) for row in rows(ledger)]
    assert sorted(evaluated) == sorted(steps), "and the base model's, as all trials"


def test_a_trial_of_extent_axis_walks_the_whole_axis():
    _, ledger, _ = ran(spec_for("random"))
    assert {row["target_step"] for row in ledger.trials()} == {9}


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_a_trial_of_extent_sampled_stops_where_it_was_proposed_to(sampler):
    spec = spec_for(sampler, extent="sampled")
    search = make_search(spec, ledger := memory_ledger())
    driver = Driver(search, ledger)
    driver.run()
    ends = set()
    for assignment in driver.started:
        ends.add(assignment.proposal.step_index)
        assert assignment.trial.steps == spec.steps[: assignment.proposal.step_index + 1]
        last = assignment.trial.steps[-1]
        assert all(r.step <= last for r in ledger.published(assignment.trial.trial_id)[0])
    assert len(ends) > 1, "the check would be empty"


def test_a_proposal_that_goes_further_than_the_recorded_trial_is_not_lost():
    """A key says nothing of how far a trial goes, so a longer walk of the same settings is the same trial, extended."""
    spec = make_spec(
        search={"trials": 30, "extent": "sampled", "space": {"batch_size": 4, "learning_rate": [1e-5]}},
    )
    _, ledger, _ = ran(spec)
    assert len(ledger.trials()) == 2
    assert {row["step"] for row in rows(ledger)} == set(spec.steps)


def test_strata_are_filled_evenly():
    spec = make_spec(seeds=[0, 1])
    search = make_search(spec, memory_ledger(), concurrent_trials=6)
    first = [search.next().stratum for _ in range(4)]
    assert sorted(first) == sorted(search.studies)


@pytest.mark.parametrize(
    ("sampler", "halved", "at_once", "held"),
    [
        ("grid", False, 2, 2),  # nobody learns from the order: what is free is taken
        ("random", False, 3, 3),
        ("random", True, 2, 1),  # the order decides which trials are halved
        ("tpe", False, 2, 1),  # one at a time, as with one worker
        ("tpe", False, 4, 4),  # the order decides anyhow
        ("tpe", False, 3, 3),
    ],
)
def test_a_study_takes_what_others_have_left_where_that_changes_no_promised_number(sampler, halved, at_once, held):
    space = {"space": FEW_POINTS, "trials": None} if sampler == "grid" else {"trials": 6}
    spec = make_spec(search={"sampler": sampler, **space}, stop={"halving": {"rungs": [2]}} if halved else {})
    ledger = memory_ledger()
    search = make_search(spec, ledger, concurrent_trials=at_once)
    driver, running = Driver(search, ledger), {name: [] for name in search.studies}

    def start():
        while (assignment := search.next()) is not None:
            running[assignment.study].append(assignment)

    start()
    counts = [len(trials) for trials in running.values()]
    assert max(counts) - min(counts) <= 1, "evenly, while each has trials left"
    while running["verses/seed=0"]:
        driver.finish(running["verses/seed=0"].pop())
        start()
    assert len(running["people/seed=0"]) == held
