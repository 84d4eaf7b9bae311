"""NSGA-III and CMA-ES: functions of the history, however often the study was rebuilt, and right about it."""

import math

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from orchestrator.search import grid_points
from orchestrator.search.sampling import evolution_strategy
from orchestrator.search.sampling.listed_points import shuffled_points
from orchestrator.search.sampling.samplers import STEP_INDEX
from search_spaces import Integer, Real, parse_space, share_of, value_at
from tests.orchestrator.helpers import Driver, make_search, make_spec, memory_ledger
from trainables.optim import Horizon
from trainables.seeding import derive_seed

ONE_FORGET_SET = {"verses": {"distribution": "in", "size": 4, "population": 8}}
RANGES = {"learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}, "batch_size": {"low": 1, "high": 8}}
SPACE = parse_space({"x": {"low": 0.0, "high": 1.0}, "y": {"low": 1e-4, "high": 1.0, "log": True}})
POPULATION = 4 + int(3 * math.log(2))


@pytest.mark.parametrize(
    ("sampler", "search"),
    [("nsga3", {"population_size": 6}), ("cmaes", {"minimize": "unlearning_quality"})],
)
def test_each_proposal_is_the_one_that_a_study_rebuilt_from_the_ledger_makes(sampler, search, monkeypatch):
    space = RANGES if sampler == "cmaes" else {**RANGES, "weight_decay": [0.0, 0.1]}
    trials = 16
    spec = make_spec(
        data={"forget_sets": ONE_FORGET_SET}, search={"sampler": sampler, "trials": trials, "space": space, **search}
    )
    ledger = memory_ledger()
    live = make_search(spec, ledger)
    (name,) = live.studies
    driver = Driver(live, ledger)
    proposed, real = [], live.studies[name].propose
    monkeypatch.setattr(live.studies[name], "propose", lambda: proposed.append(real()) or proposed[-1])
    turns = 0
    while not live.is_exhausted():
        rebuilt = make_search(spec, ledger).studies[name].propose()
        proposed.clear()
        assignment = live.next()
        assert proposed[0] == rebuilt
        if assignment is not None:  # not a repeat of what ran before
            driver.finish(assignment)
            turns += 1
    assert turns > 10, "the check would be empty"


def told(study, x, y, value, *, violation=0.0, step_index=0, state=TrialState.COMPLETE):
    study.add_trial(
        create_trial(
            state=state,
            values=[value] if state is TrialState.COMPLETE else None,
            params={"x": x, "y": y, STEP_INDEX: step_index},
            distributions={
                "x": FloatDistribution(0.0, 1.0),
                "y": FloatDistribution(1e-4, 1.0, log=True),
                STEP_INDEX: IntDistribution(0, 3),
            },
            constraints={"feasible": violation} if state is TrialState.COMPLETE else None,
        )
    )


def propose(study, seed=0, *, horizon=Horizon.FREE):
    return evolution_strategy.propose(study, SPACE, 4, horizon=horizon, seed=seed)


def search_for(loss, *, trials, violation=lambda x, y: 0.0, seed=0):
    """Propose and tell, one at a time; each trial's other observation is worse, and told first."""
    study = optuna.create_study()
    for number in range(trials):
        point, step_index = propose(study, derive_seed(seed, number))
        assert step_index == 3
        x, y = point["x"], point["y"]
        told(study, x, y, loss(x, y) + 7, step_index=0)
        told(study, x, y, loss(x, y), violation=violation(x, y), step_index=3)
    return [(trial.params["x"], trial.params["y"]) for trial in study.trials[1::2]]


def bowl(x, y):
    return (x - 0.2) ** 2 + (math.log10(y) + 3) ** 2


@pytest.mark.parametrize("seed", range(3))
def test_cma_es_comes_closer_to_the_optimum_from_population_to_population(seed):
    points = search_for(bowl, trials=15 * POPULATION, seed=seed)
    losses = [np.median([bowl(*p) for p in points[i : i + POPULATION]]) for i in (0, 14 * POPULATION)]
    assert losses[1] < losses[0] / 30, losses


def test_cma_es_keeps_within_a_bound_that_the_optimum_lies_beyond():
    points = search_for(bowl, trials=15 * POPULATION, violation=lambda x, y: 0.5 - x)
    late = points[-2 * POPULATION :]
    assert sum(x >= 0.5 for x, _ in late) >= POPULATION
    assert all(abs(x - 0.5) < 0.2 for x, _ in late)


def test_cma_es_learns_from_whole_populations_of_ended_trials_and_from_their_order_alone():
    study, scaled, longer = (optuna.create_study() for _ in range(3))
    points = np.random.default_rng(0).uniform(0.1, 0.9, (POPULATION, 2)).tolist()
    before = propose(study)
    for index, (x, y) in enumerate(points):
        assert propose(study) == before, "a population is not full yet"
        told(study, x, y, bowl(x, y))
        told(scaled, x, y, 1e6 * bowl(x, y))
        told(longer, x, y, bowl(x, y))
        told(longer, x, y, math.inf, violation=1.0, step_index=index % 3 + 1)
    after = propose(study)
    assert after != before
    assert propose(scaled) == propose(longer) == after
    assert propose(study, seed=1) != after

    told(study, 0.5, 0.5, math.nan, state=TrialState.RUNNING)
    told(study, 0.6, 0.6, math.nan, state=TrialState.FAIL)
    assert propose(study) == after, "neither tells anything"
    for x, y in points:
        told(study, x / 2, y, bowl(x, y))
        told(study, x / 2, y, math.nan, state=TrialState.RUNNING)
    assert propose(study) == after, "they may come to something better"


def test_cma_es_takes_the_step_axis_for_a_dimension_where_each_step_value_is_a_trial_of_its_own():
    study = optuna.create_study()
    rng = np.random.default_rng(1)
    for number in range(60):
        point, step_index = propose(study, number, horizon=Horizon.FIXED)
        told(study, point["x"], point["y"], abs(step_index - 1) + rng.uniform(0, 0.1), step_index=step_index)
    late = [trial.params[STEP_INDEX] for trial in study.trials[-12:]]
    assert late.count(1) > 6, late


@settings(max_examples=60, deadline=None)
@given(low=st.integers(1, 50), width=st.integers(1, 50), log=st.booleans(), share=st.floats(0, 1, exclude_max=True))
def test_a_share_is_the_inverse_of_a_value(low, width, log, share):
    real, whole = Real(low=low, high=low + width, log=log), Integer(low=low, high=low + width, log=log)
    assert share_of(real, value_at(real, share)) == pytest.approx(share, abs=1e-9)
    value = value_at(whole, share)
    assert value_at(whole, share_of(whole, value)) == value


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_brute_force_is_the_grid_in_another_order_that_a_longer_axis_appends_to(schedule):
    space = {"batch_size": [1, 2, 4], "learning_rate": [1e-4, 1e-3, 1e-2], "schedule": schedule}

    def spec(steps):
        return make_spec(steps=steps, search={"sampler": "brute_force", "trials": None, "space": space})

    short, long = spec([2, 5]), spec([2, 5, 9])
    points = shuffled_points(short, seed=1)
    assert sorted(map(str, points)) == sorted(map(str, grid_points(short)))
    assert points != grid_points(short)
    assert points != shuffled_points(short, seed=2)
    longer = shuffled_points(long, seed=1)
    assert [point for point, _ in longer[: len(points)]] == [point for point, _ in points]
    if schedule == "linear":
        assert longer[: len(points)] == points
        assert len(longer) == 27
    halves = [point for point, _ in points[9:]]
    assert schedule == "constant" or halves != [point for point, _ in points[:9]], "an order for each step value"
