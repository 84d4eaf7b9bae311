"""What is suggested and what is described to a study are the same thing, on any space."""

import warnings

import optuna
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import create_trial

from search_spaces import distributions, parse_space, suggest

reals = st.tuples(st.floats(1e-6, 1.0), st.floats(1.5, 100.0), st.booleans()).map(
    lambda r: {"low": r[0], "high": r[1], "log": r[2]}
)
integers = st.tuples(st.integers(1, 5), st.integers(6, 50), st.booleans()).map(
    lambda r: {"low": r[0], "high": r[1], "log": r[2]}
)
scalars = st.one_of(st.integers(-5, 5), st.sampled_from(["a", "b", "c"]), st.none())
lists = st.lists(scalars, min_size=1, max_size=3, unique=True)
names = st.sampled_from(["p", "q", "r"])


def spaces(inner):
    choices = st.dictionaries(st.sampled_from(["x", "y", "z"]), inner, min_size=1, max_size=3).map(
        lambda options: {"choices": options}
    )
    return st.dictionaries(names, st.one_of(scalars, reals, integers, lists, choices), max_size=3)


any_space = spaces(spaces(st.just({})))


@settings(max_examples=60, deadline=None)
@given(data=any_space, seed=st.integers(0, 2**31))
def test_suggest_and_distributions_agree(data, seed):
    space = parse_space(data)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    point = suggest(trial, space)
    described = distributions(space, point)
    assert trial.params == point
    assert trial.distributions == described
    stored = create_trial(value=0.0, params=point, distributions=described)
    study.add_trial(stored)
    assert study.trials[-1].params == point


@settings(max_examples=30, deadline=None)
@given(data=any_space, seed=st.integers(0, 2**31))
def test_an_enqueued_point_comes_back(data, seed):
    space = parse_space(data)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    point = suggest(study.ask(), space)
    other = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed + 1))
    other.enqueue_trial(point)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna warns where an enqueued value is out of range
        assert suggest(other.ask(), space) == point


def test_equal_names_under_different_values_are_different_dimensions():
    space = parse_space({"opt": {"choices": {"a": {"lr": {"low": 0.1, "high": 0.2}}, "b": {"lr": [1, 2]}}}})
    under_a = distributions(space, {"opt": "a", "opt=a/lr": 0.15})
    under_b = distributions(space, {"opt": "b", "opt=b/lr": 2})
    assert set(under_a) == {"opt", "opt=a/lr"}
    assert set(under_b) == {"opt", "opt=b/lr"}
