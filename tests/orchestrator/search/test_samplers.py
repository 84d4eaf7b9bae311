"""Quasi-random points, the order of a grid, and what the Gaussian process is fed and leaves alone."""

import math
import random
import warnings

import optuna
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from orchestrator.search import grid_points
from orchestrator.search.sampling import gaussian_process
from orchestrator.search.sampling.gaussian_process import OBSERVATIONS_MODELLED
from orchestrator.search.sampling.quasi_random import quasi_random_point
from orchestrator.search.sampling.samplers import STEP_INDEX
from search_spaces import parse_space
from tests.orchestrator.helpers import make_search, make_spec, memory_ledger
from tests.search_spaces.test_optuna_space import any_space

RATES = parse_space(
    {
        "optimizer": {
            "choices": {
                "adamw": {"learning_rate": {"low": 1e-6, "high": 1e-2, "log": True}},
                "sgd": {"learning_rate": {"low": 1e-3, "high": 1e1, "log": True}, "momentum": [0.0, 0.9]},
            }
        }
    }
)
RATE = FloatDistribution(1e-6, 1e-2, log=True)
STEPS = IntDistribution(0, 9)


def sequence(space, count, *, seed=0, axis_length=4):
    return [quasi_random_point(space, axis_length, seed=seed, number=number) for number in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_every_part_of_a_range_gets_its_share_of_quasi_random_points(seed):
    """The strata of a Sobol net: 64 points put 32 in each optimizer, and 2 in each 1/16 of a branch's log range."""
    points = sequence(RATES, 64, seed=seed)
    for name, low in (("adamw", 1e-6), ("sgd", 1e-3)):
        rates = [point[f"optimizer={name}/learning_rate"] for point, _ in points if point["optimizer"] == name]
        decades = [int(math.log10(rate / low)) for rate in rates]
        assert len(rates) == 32
        assert all(5 <= decades.count(decade) <= 11 for decade in range(4)), decades
    assert [sum(index == i for _, index in points) for i in range(4)] == [16] * 4
    flat = parse_space({"learning_rate": {"low": 1.0, "high": 2.0**8, "log": True}})
    octaves = [int(math.log2(point["learning_rate"])) for point, _ in sequence(flat, 64, seed=seed)]
    assert [octaves.count(octave) for octave in range(8)] == [8] * 8


@settings(max_examples=30, deadline=None)
@given(data=any_space, seed=st.integers(0, 2**62), number=st.integers(0, 500), length=st.integers(1, 30))
def test_a_quasi_random_point_is_a_function_of_its_seed_and_number(data, seed, number, length):
    space = parse_space(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        point, index = quasi_random_point(space, length, seed=seed, number=number)
    assert (point, index) == quasi_random_point(space, length, seed=seed, number=number)
    assert 0 <= index < length


def test_strata_have_sequences_of_their_own():
    search = make_search(make_spec(seeds=[0, 1], search={"sampler": "qmc"}), memory_ledger())
    first = [str(stratum.propose().point) for stratum in search.studies.values()]
    assert len(set(first)) == len(first) == 4


def test_a_longer_axis_appends_to_a_grid():
    space = {"batch_size": 4, "learning_rate": [1e-4, 1e-3], "schedule": "linear"}
    short, long = (
        grid_points(make_spec(steps=steps, search={"sampler": "grid", "trials": None, "space": space}))
        for steps in ([2, 5], [2, 5, 9])
    )
    assert long[: len(short)] == short
    assert len(long) == 6


def study_of(*observations):
    """A study of (optimizer, learning rate, step index, values or None while it runs, feasible)."""
    study = optuna.create_study(directions=["minimize"] * 2)
    for name, rate, step_index, values, feasible in observations:
        params = {"optimizer": name, f"optimizer={name}/learning_rate": rate, STEP_INDEX: step_index}
        distributions = {
            "optimizer": CategoricalDistribution(["adamw", "sgd"]),
            f"optimizer={name}/learning_rate": RATE if name == "adamw" else FloatDistribution(1e-3, 1e1, log=True),
            STEP_INDEX: STEPS,
        }
        if name == "sgd":
            params["optimizer=sgd/momentum"] = 0.9
            distributions["optimizer=sgd/momentum"] = CategoricalDistribution([0.0, 0.9])
        state = TrialState.COMPLETE if values else TrialState.RUNNING
        constraints = {"feasible": 0.0 if feasible else 1.0} if values else None
        study.add_trial(
            create_trial(
                state=state, values=values, params=params, distributions=distributions, constraints=constraints
            )
        )
    return study


def propose(study, seed=0):
    return gaussian_process.propose(study, RATES, 10, seed=seed)


def slope(rate, step_index):
    """Exposure falls with rate x step to 0 and rises again; performance is lost with it."""
    push = rate * 1e4 * step_index
    return [abs(10 - push), 3 + push**2 / 1000]


KNOWN = [("adamw", rate, index, slope(rate, index), True) for rate in (1e-5, 1e-4, 1e-3) for index in (0, 5, 9)]
LOST = ("sgd", 1.0, 5, [math.inf, math.inf], False)


def test_a_gaussian_process_is_a_function_of_the_study_and_the_seed_and_disturbs_nothing():
    study = study_of(*KNOWN, LOST, ("adamw", 5e-4, 9, None, True))
    proposals = []
    for threads in (1, 2):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        state = torch.random.get_rng_state()
        proposals.append(propose(study))
        assert torch.equal(torch.random.get_rng_state(), state)
        assert torch.get_num_threads() == threads
        torch.set_num_threads(before)
    assert proposals[0] == proposals[1]
    assert len(study.trials) == len(KNOWN) + 2, "the search's own study is as it was"


@pytest.mark.parametrize("observations", [[], [LOST], [LOST, LOST], [("adamw", 1e-4, 3, None, True)]])
def test_a_gaussian_process_proposes_where_nothing_is_feasible_or_known(observations):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        point, step_index = propose(study_of(*observations))
    assert point["optimizer"] in {"adamw", "sgd"}
    assert 0 <= step_index < 10


def test_what_exploded_does_not_change_how_good_observations_look_to_the_gaussian_process():
    """Values as of AdamW at 1e-1 (DESIGN section 8) would flatten all others to one."""
    exploded = [("adamw", 1e-2, index, [1e6, 28_000.0], False) for index in (5, 9)]
    told = study_of(*KNOWN, *exploded, LOST).trials
    _, values, violations = gaussian_process._modelled(told, random.Random(0))
    assert values[: len(KNOWN)] == [values_ for _, _, _, values_, _ in KNOWN]
    worst = [max(pair[i] for pair in values[: len(KNOWN)]) for i in (0, 1)]
    assert values[len(KNOWN) :] == [worst] * 3
    assert [violation["feasible"] for violation in violations] == [-1.0] * len(KNOWN) + [1.0] * 3
    none_lost = gaussian_process._modelled(told[: len(KNOWN)], random.Random(0))
    assert set(none_lost[2]) == {None}


def test_a_gaussian_process_models_the_front_and_a_bounded_sample_of_the_rest():
    rest = [("adamw", 1e-5, 1, [50.0 + i, 50.0], True) for i in range(3 * OBSERVATIONS_MODELLED)]
    front = [("adamw", 1e-3, 2, [float(i), 10.0 - i], True) for i in range(10)]
    told = study_of(*rest[::2], *front, *rest[1::2]).trials
    samples = []
    for seed in (0, 1):
        kept, values, _ = gaussian_process._modelled(told, random.Random(seed))
        samples.append([trial.number for trial in kept])
        assert len(kept) == OBSERVATIONS_MODELLED
        assert sorted(samples[-1]) == samples[-1], "in the study's order"
        assert all(point in values for _, _, _, point, _ in front)
    assert samples[0] != samples[1]


def test_a_gaussian_process_learns_the_rate_inside_a_branch():
    """Optuna's own would draw it at random; the gap in the front is where every seed finds it."""
    points = [propose(study_of(*KNOWN, *[LOST] * 3), seed=seed)[0] for seed in range(2)]
    assert {point["optimizer"] for point in points} == {"adamw"}
    rates = [point["optimizer=adamw/learning_rate"] for point in points]
    assert all(1e-5 < rate < 1e-3 for rate in rates), rates
    assert max(rates) / min(rates) < 1.5


def test_a_gaussian_process_takes_one_objective_and_a_bound_and_proposes_within_it():
    """Exposure alone is best where rate x step is 1e-3; a performance bound ends at a third of that."""
    study = optuna.create_study(directions=["minimize"])
    for trial in study_of(*KNOWN, LOST).trials:
        exposure, performance = trial.values
        excess = {"feasible": trial.constraints["feasible"], "performance_at_most": performance - 3.01}
        study.add_trial(
            create_trial(values=[exposure], params=trial.params, distributions=trial.distributions, constraints=excess)
        )
    point, step_index = propose(study)
    push = point["optimizer=adamw/learning_rate"] * 1e4 * step_index
    assert 2 < push < 5, "the bound is at 3.2, the optimum without it at 10"
