"""The search for repetitions against invented models: what it tries, when it ends, and what it takes."""

import math

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.run.repetition_search import PARTS, RepetitionSearch, Round, described, groups

RATES = st.floats(0.05, 2.0)


def levels_of(quarters, rates, *, top=100.0):
    """Invent exposures that rise with repetitions and saturate, each set at its own rate."""
    return {name: top * (1 - math.exp(-rates[name] * own / PARTS / 2)) for name, own in quarters.items()}


def searched(start, rates, *, to=None, tolerance=0.1, rounds=12):
    search, tried = RepetitionSearch(start, to=to, tolerance=tolerance, rounds=rounds), []
    while (quarters := search.propose()) is not None:
        tried.append(dict(quarters))
        search.add(levels_of(quarters, rates))
    return search, tried


@given(rates=st.fixed_dictionaries({"a": RATES, "b": RATES, "c": RATES}))
def test_sets_that_can_be_matched_are(rates):
    start = dict.fromkeys(rates, 1)
    search, tried = searched(start, rates, tolerance=0.15)
    best = search.best
    assert best.to == max(rates, key=lambda name: levels_of({name: PARTS}, rates)[name])
    assert best.quarters[best.to] == PARTS, "it stays as it was given"

    def some_quarters_do(share):  # by a slow oracle
        aim = best.levels[best.to]
        found = {name: [levels_of({name: q}, rates)[name] / aim for q in range(PARTS, 64 * PARTS)] for name in rates}
        return all(any(abs(ratio - 1) <= share for ratio in ratios) for ratios in found.values())

    assert best.worst <= 0.15 or not some_quarters_do(0.075)
    assert best.worst > 0.15 or some_quarters_do(0.15)
    assert len(tried) == len({tuple(sorted(one.items())) for one in tried}), "nothing is trained twice"
    assert best.worst <= 0.15 or len(tried) <= 12


@given(rates=st.fixed_dictionaries({"a": RATES, "b": RATES}), rounds=st.integers(1, 4))
def test_the_rounds_are_a_limit_and_the_nearest_round_is_taken(rates, rounds):
    search, tried = searched({"a": 1, "b": 3}, rates, tolerance=0.001, rounds=rounds)
    assert 1 <= len(tried) <= rounds
    differences = []
    for quarters in tried:
        levels = levels_of(quarters, rates)
        differences.append(max(levels.values()) / min(levels.values()) - 1)
    assert search.best.worst == min(differences)


def test_a_set_that_is_named_is_what_the_others_are_matched_to():
    search, tried = searched({"a": 4, "b": 1}, {"a": 1.0, "b": 1.0}, to="b")
    assert search.best.quarters == {"a": PARTS, "b": PARTS}
    assert {one["b"] for one in tried} == {PARTS}


def test_what_cannot_be_lowered_further_ends_the_search():
    search, tried = searched({"a": 1, "b": 1}, {"a": 2.0, "b": 0.2}, to="b")
    assert len(tried) == 1
    assert "NOT matched within 10%;" in described(search.best, {"a": (1,), "b": (1,)}, by="gen_ex", tolerance=0.1)


def test_a_set_of_which_nothing_is_memorized_matches_nothing():
    search = RepetitionSearch({"a": 1, "b": 1}, to="b", tolerance=0.1, rounds=5)
    search.add({"a": 3.0, "b": -0.5})
    assert search.propose() is None
    text = described(search.best, {"a": (1,), "b": (1,)}, by="gen_ex", tolerance=0.1)
    assert "NOT matched, since the base model has memorized nothing of b" in text


@given(st.integers(PARTS, 40), st.integers(1, 100))
def test_groups_of_a_set_have_the_mean_that_was_asked_for(quarters, size):
    found = groups(quarters, size)
    assert len(found) <= min(PARTS, size), "no more groups than examples"
    assert max(found) - min(found) <= 1
    assert abs(sum(found) / len(found) - quarters / PARTS) <= 1 / 2 / min(PARTS, size)
    if size >= PARTS:
        assert sum(found) / len(found) == quarters / PARTS


def test_what_was_matched_is_said_with_repetitions():
    best = Round(quarters={"a": 4, "b": 6}, levels={"a": 30.0, "b": 31.0}, to="a")
    text = described(best, {"a": (1,), "b": groups(6, 32)}, by="gen_ex", tolerance=0.1)
    assert text == (
        "gen_ex of the forget sets before unlearning: a 30 (repetitions 1), b 31 (repetitions [1, 1, 2, 2]): "
        "matched within 10%"
    )
