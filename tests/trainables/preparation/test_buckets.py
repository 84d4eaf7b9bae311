"""Members of buckets: measured once, and kept as they were recorded."""

import numpy as np
import pytest

from tests.support import tiny_encoded, tiny_model
from trainables.config import Bucket, DataConfig
from trainables.preparation import bucket_members, evaluation_sets
from trainables.preparation.buckets import ROUNDING

DATA = DataConfig.model_validate({
    "retain": 10, "heldout": 4,
    "forget_sets": {"set": {"distribution": "in", "size": 7, "population": 4, "buckets": ["difficulty"]}},
})  # fmt: skip
THIRDS = ("low", "middle", "high")


def name(third):
    return f"set-difficulty-{third}"


@pytest.fixture(scope="module")
def sets():
    parts = {"forget": tiny_encoded(7, 1), "population": tiny_encoded(4, 2), "heldout": tiny_encoded(4, 3)}
    models = [tiny_model(seed=seed).eval() for seed in range(3)]
    encoded = {"set": {**parts, "retain": parts["heldout"]}}
    return evaluation_sets(encoded, models=models, batch_size=4, max_increase=3.0)


@pytest.fixture(scope="module")
def measured(sets):
    found = bucket_members(sets, DATA, {})
    assert list(found) == [Bucket(parent="set", trait="difficulty", third=third) for third in THIRDS]
    return {bucket.name: own for bucket, own in found.items()}


def recorded(sets, members):
    ids = sets["set"].forget.example_ids
    return {name: [ids[i] for i in own] for name, own in members.items()}


def test_they_are_thirds_by_the_trait_and_all_of_the_set(sets, measured):
    trait_N = sets["set"].trait_N("difficulty")
    low, middle, high = measured.values()
    assert sorted(low + middle + high) == list(range(7))
    assert [len(own) for own in measured.values()] == [3, 2, 2]
    assert max(trait_N[list(low)]) <= min(trait_N[list(middle)])
    assert max(trait_N[list(middle)]) <= min(trait_N[list(high)])


def test_recorded_members_stay_where_nothing_but_rounding_speaks_against_them(sets, measured, monkeypatch):
    trait_N = sets["set"].trait_N("difficulty").copy()
    ranked = np.argsort(trait_N)
    last, first = ranked[2], ranked[3]  # of low, and of middle
    other = {
        name("low"): tuple(sorted({*measured[name("low")], first} - {last})),
        name("middle"): tuple(sorted({*measured[name("middle")], last} - {first})),
        name("high"): measured[name("high")],
    }
    monkeypatch.setattr(type(sets["set"]), "trait_N", lambda *_: trait_N)
    trait_N[first] = trait_N[last] + ROUNDING / 2
    kept = bucket_members(sets, DATA, recorded(sets, other))
    assert {bucket.name: own for bucket, own in kept.items()} == other
    trait_N[first] = trait_N[last] + ROUNDING * 2
    assert list(bucket_members(sets, DATA, recorded(sets, other)).values()) == list(measured.values())


@pytest.mark.parametrize("change", ["others", "fewer", "none", "all_in_one"])
def test_members_are_measured_anew_where_those_that_are_recorded_are_of_another_set(sets, measured, change):
    known = recorded(sets, measured)
    match change:
        case "others":
            known[name("low")] = ["x", "y", "z"]
        case "fewer":
            known[name("high")] = known[name("high")][:1]
        case "none":
            known = {}
        case "all_in_one":
            known = {name("low"): list(sets["set"].forget.example_ids)}
    assert list(bucket_members(sets, DATA, known).values()) == list(measured.values())
