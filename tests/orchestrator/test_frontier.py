"""Pareto sets and hypervolume against brute force; crossings against hand-made examples."""

import itertools
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.frontier import crossing_of, frontier_of, frontiers, hypervolume, pareto
from orchestrator.sweeps import open_sweep
from trainables.exposure import EXPECTED_RELATIVE_EXPOSURE_BITS

points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12)


def row(quality, performance, *, step=1, status="completed", trial_id="t", gen_ex=1.0, rel_ex=2.0):
    return {
        "trial_id": trial_id, "step": step, "status": status, "unlearning_quality": quality,
        "performance": performance, "gen_ex": gen_ex, "rel_ex": rel_ex, "optimizer": "sgd",
        "learning_rate": 0.1, "seed": 0,
    }  # fmt: skip


def whole(rows, *, base=None, floor=3.0):
    return frontier_of(rows, forget_set="verses", distribution="in", base=base, references=[], performance_floor=floor)


def values(rows):
    return [(r["unlearning_quality"], r["performance"]) for r in rows]


def dominates(a, b):
    return a[0] <= b[0] and a[1] <= b[1] and a != b


@given(points)
def test_pareto_is_brute_force_dominance(candidates):
    expected = sorted({p for p in candidates if not any(dominates(q, p) for q in candidates)})
    assert values(pareto([row(*p) for p in candidates])) == expected


@given(points)
def test_of_equal_rows_the_first_stays(candidates):
    rows = [row(*p, step=index) for index, p in enumerate(candidates)]
    for kept in pareto(rows):
        first = next(r for r in rows if values([r]) == values([kept]))
        assert kept["step"] == first["step"]


@given(points, st.tuples(st.integers(0, 6), st.integers(0, 6)))
def test_hypervolume_counts_unit_squares(candidates, corner):
    squares = sum(
        any(p[0] <= x and p[1] <= y for p in candidates)
        for x, y in itertools.product(range(corner[0]), range(corner[1]))
    )
    assert hypervolume(candidates, corner) == pytest.approx(squares)


def test_the_edges_of_hypervolume():
    assert hypervolume([], (1.0, 1.0)) == 0.0
    assert hypervolume([(1.0, 1.0)], (1.0, 1.0)) == 0.0
    assert hypervolume([(0.5, 0.25)], (1.0, 1.0)) == pytest.approx(0.375)
    assert hypervolume([(2.0, 0.0)], (1.0, 1.0)) == 0.0


def test_no_row_is_an_empty_frontier():
    frontier = whole([])
    assert (frontier.points, frontier.evaluations, frontier.trials, frontier.hypervolume) == ([], 0, 0, None)
    assert json.loads(json.dumps(frontier.as_json()))["points"] == []


def test_one_row_is_its_own_frontier():
    assert values(whole([row(1.0, 3.0)]).points) == [(1.0, 3.0)]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None])
def test_what_is_not_a_finite_number_is_no_candidate(bad):
    frontier = whole([row(1.0, 3.0), row(bad, 0.0, step=2), row(0.0, bad, step=3)])
    assert values(frontier.points) == [(1.0, 3.0)]
    assert frontier.evaluations == 1


@pytest.mark.parametrize("status", ["collapsed", "diverged", "stopped", "failed"])
def test_only_completed_rows_are_candidates(status):
    frontier = whole([row(1.0, 3.0), row(0.0, 0.0, step=2, status=status)])
    assert values(frontier.points) == [(1.0, 3.0)]


def test_the_reference_point_is_no_unlearning_and_the_floor():
    frontier = whole([row(2.0, 3.5)], base=row(10.0, 3.0), floor=2.0)
    assert frontier.reference_point == (10.0, 5.0)
    assert frontier.hypervolume == pytest.approx(8.0 * 1.5)


def test_without_a_base_the_reference_point_is_the_worst_corner():
    assert whole([row(1.0, 4.0), row(2.0, 3.0, step=2)]).reference_point == (2.0, 4.0)


def test_a_crossing_is_interpolated_between_two_evaluations():
    trial = [row(6, 3.0, step=2, gen_ex=6.0), row(3, 3.2, step=4, gen_ex=3.0), row(1, 4.0, step=8, gen_ex=-1.0)]
    crossing = crossing_of(trial, row(9, 2.5, gen_ex=9.0), "gen_ex")
    assert crossing.steps == pytest.approx(7.0)
    assert crossing.performance == pytest.approx(3.8)
    assert crossing.cost == pytest.approx(1.3)
    assert crossing_of(trial, None, "gen_ex").cost is None


def test_a_crossing_before_the_first_evaluation_starts_at_the_base():
    crossing = crossing_of([row(2, 4.0, step=8, gen_ex=-2.0)], row(6, 3.0, gen_ex=6.0), "gen_ex")
    assert (crossing.steps, crossing.performance, crossing.cost) == pytest.approx((6.0, 3.75, 0.75))


def test_a_crossing_exactly_at_zero_and_only_the_first_counts():
    trial = [row(0, 3.0, step=s, gen_ex=g) for s, g in ((0, 4.0), (3, 0.0), (5, 2.0), (7, -2.0))]
    assert crossing_of(trial, row(4, 2.0, gen_ex=4.0), "gen_ex").steps == 3.0


@pytest.mark.parametrize("path", [(4.0, 2.0, 0.1), (-1.0, -2.0), (0.0, -1.0)])
def test_a_trial_that_never_passes_zero_has_no_crossing(path):
    assert crossing_of([row(1, 3, step=s, gen_ex=g) for s, g in enumerate(path)], None, "gen_ex") is None


def test_relative_exposure_is_gone_at_its_expectation_and_generalized_needs_reference_models():
    expected = EXPECTED_RELATIVE_EXPOSURE_BITS
    trial = [
        row(1, 3.0, step=0, gen_ex=None, rel_ex=expected + 1), row(1, 4.0, step=4, gen_ex=None, rel_ex=expected - 3)
    ]  # fmt: skip
    crossing = crossing_of(trial, None, "rel_ex")
    assert (crossing.steps, crossing.performance) == pytest.approx((1.0, 3.25))
    assert crossing_of(trial, None, "gen_ex") is None


def test_a_collapsed_row_gives_no_crossing():
    trial = [row(4, 3.0, step=0, gen_ex=4.0), row(1, 9.0, step=2, gen_ex=-1.0, status="collapsed")]
    assert whole(trial).crossings == {"gen_ex": [], "rel_ex": []}


def test_crossings_come_cheapest_first_with_their_medians():
    rows = [
        row(1, performance + step, step=step, trial_id=name, gen_ex=gen_ex)
        for name, performance in (("dear", 5.0), ("cheap", 3.0))
        for step, gen_ex in ((0, 1.0), (2, -1.0))
    ]
    frontier = whole(rows)
    assert [crossing.trial_id for crossing in frontier.crossings["gen_ex"]] == ["cheap", "dear"]
    assert frontier.steps_to_unlearn("gen_ex") == {"sgd": 1.0}


def test_the_frontiers_of_a_sweep(written_sweeps):
    ledger = open_sweep("first", str(written_sweeps))
    verses, people = frontiers(ledger)
    assert (verses.forget_set, verses.distribution) == ("verses", "in")
    assert (people.forget_set, people.distribution) == ("people", "out")
    for frontier in (verses, people):
        own = [r for r in ledger.table("evaluations").to_pylist() if r["forget_set"] == frontier.forget_set]
        alive = [p for r, p in zip(own, values(own), strict=True) if r["status"] == "completed"]
        assert values(frontier.points) == sorted({p for p in alive if not any(dominates(q, p) for q in alive)})
        assert frontier.base["model"] == "base"
        assert [r["model"] for r in frontier.references] == ["reference-0"]
        assert json.loads(json.dumps(frontier.as_json(), allow_nan=False))["trials"] == frontier.trials == 4
    assert [f.forget_set for f in frontiers(ledger, "people")] == ["people"]
