"""Frontiers: candidates, reference point, targets, intervals. Crossings against hand-made examples."""

import json
import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import SweepError
from orchestrator.frontier import frontiers
from orchestrator.frontier.computing import frontier_of
from orchestrator.frontier.crossings import crossings_of
from orchestrator.frontier.objectives import require_bounds
from orchestrator.frontier.summary import frontier_notes, interval_note, lost_against_base, price_note
from orchestrator.ledger import EVALUATIONS, MAXIMISED, MINIMISED, Ledger, open_sweep, to_table
from orchestrator.query import as_json
from tests.orchestrator.helpers import make_spec, write_sweep
from tests.support import PROPERTY
from trainables.metrics import EXPECTED_RELATIVE_EXPOSURE_BITS

SETTING = "gradient_ascent · sgd lr=0.1"
"""What tells of a trial of ``row`` that has no settings."""


def row(quality, performance, *, step=1, status="completed", trial_id="t", gen_ex=1.0, rel_ex=2.0, **more):
    return {
        "trial_id": trial_id, "step": step, "status": status, "unlearning_quality": quality,
        "performance": performance, "gen_ex": gen_ex, "rel_ex": rel_ex, "optimizer": "sgd",
        "learning_rate": 0.1, "seed": 0, "replicate": 0, "elapsed_s": step / 2, "heldout_nll": performance, **more,
    }  # fmt: skip


def whole(rows, *, base=None, bases=None, floor=3.0, references=(), **options):
    return frontier_of(
        to_table(EVALUATIONS, rows),
        forget_set="verses",
        distribution="in",
        bases=bases or ({} if base is None else {0: base}),
        references=references,
        performance_floor=floor,
        **options,
    )


def values(rows):
    return [(r["unlearning_quality"], r["performance"]) for r in rows]


def dominates(a, b):
    return a[0] <= b[0] and a[1] <= b[1] and a != b


def crossing_of(trial, base, measure):
    return next(iter(crossings_of(to_table(EVALUATIONS, trial), {} if base is None else {0: base}, measure)), None)


def test_a_price_is_chosen_by_performance_and_shown_by_the_other_held_out_examples():
    base = row(10.0, 3.0) | {"gen_ex": 10.0, "heldout_nll": 4.0}
    trials = {"cheap": (3.5, 4.75), "dear": (3.75, 4.25)}
    rows = [
        row(0.0, performance, trial_id=trial, step=1, gen_ex=0.0, heldout_nll=heldout_nll)
        for trial, (performance, heldout_nll) in trials.items()
    ]
    found = crossings_of(to_table(EVALUATIONS, rows), {0: base}, "gen_ex")
    assert [(own.trial_id, own.performance, own.cost) for own in found] == [("cheap", 3.5, 0.75), ("dear", 3.75, 0.25)]
    frontier = whole(rows, base=base)
    assert lost_against_base(rows[0], frontier) == 0.75


def test_no_row_is_an_empty_frontier():
    frontier = whole([])
    assert (frontier.points, frontier.evaluations, frontier.trials, frontier.hypervolume) == ([], 0, 0, None)
    assert (frontier.knee, frontier.reference_point, frontier.hypervolume_by_seed) == (None, None, None)
    assert all(target.cheapest is target.best is None for target in frontier.targets)
    assert json.loads(as_json(frontier.as_json()))["points"] == []


def test_no_row_but_a_base_has_nothing_below_the_reference_point():
    frontier = whole([], base=row(10.0, 3.0))
    assert (frontier.reference_point, frontier.hypervolume) == ((10.0, 6.0), 0.0)


def test_one_row_is_its_own_frontier():
    frontier = whole([row(1.0, 3.0)])
    assert values(frontier.points) == [(1.0, 3.0)]
    assert (frontier.knee, frontier.hypervolume) == (None, 0.0)


def test_of_equal_rows_the_first_trial_and_step_stays_whatever_their_order():
    rows = [row(1.0, 3.0, trial_id=name, step=step) for name in ("b", "a") for step in (5, 2)]
    (point,) = whole(rows).points
    assert (point["trial_id"], point["step"]) == ("a", 2)


def test_the_knee_is_a_point():
    frontier = whole([row(x, y, step=step) for step, (x, y) in enumerate([(0, 4), (1, 1), (4, 0), (5, 5)])])
    assert values([frontier.knee]) == [(1, 1)]


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
    assert frontier.reference_origin == ("no unlearning", "performance at the floor")
    assert frontier.hypervolume == pytest.approx(8.0 * 1.5)


def test_without_a_base_the_reference_point_is_the_worst_corner():
    frontier = whole([row(1.0, 4.0), row(2.0, 3.0, step=2)])
    assert (frontier.reference_point, set(frontier.reference_origin)) == ((2.0, 4.0), {"the worst evaluation"})


@pytest.mark.parametrize(
    ("objectives", "corner"),
    [
        (("gen_ex_abs", "heldout_nll"), (8.0, 6.0)),
        (("membership_auc", "retain_nll"), (0.4, 5.0)),
        (("rel_ex", "performance"), (2.0 - EXPECTED_RELATIVE_EXPOSURE_BITS, 6.0)),
        (("gen_ex", "population_nll"), (1.0, 7.0)),
        (("gen_ex_abs", "distractor_nll"), (8.0, 8.0)),
        (("forget_nll", "performance"), (1.5, 6.0)),
        (("unlearning_quality", "step"), (10.0, 4.0)),
    ],
)
def test_other_objectives_have_a_reference_point_of_their_own(objectives, corner):
    shared = {
        "gen_ex_abs": 8.0, "heldout_nll": 3.0, "membership_auc": 0.9, "retain_nll": 1.0, "population_nll": 2.0,
        "distractor_nll": 2.0, "forget_nll": 0.5,
    }  # fmt: skip
    base = {name: value for name, value in row(10.0, 3.0, **shared).items() if name != "step"}
    grown = {"retain_nll": 5.0, "population_nll": 7.0, "distractor_nll": 8.0}
    rows = [row(2.0, 3.5, step=4, **shared | grown)]
    assert whole(rows, base=base, objectives=objectives).reference_point == pytest.approx(corner)


def test_other_objectives_make_other_frontiers():
    rows = [
        row(1.0, 9.0, step=1, retain_nll=1.0, membership_auc=0.5),
        row(9.0, 1.0, step=2, retain_nll=2.0, membership_auc=0.6),
    ]
    assert [r["step"] for r in whole(rows).points] == [1, 2]
    assert [r["step"] for r in whole(rows, objectives=("membership_auc", "retain_nll")).points] == [1]


UTILITIES = [
    row(1.0, 3.0, step=step, forget_quality=quality, model_utility=utility)
    for step, quality, utility in ((1, 0.1, 0.6), (2, 0.4, 0.5), (3, 0.3, 0.45), (4, 0.9, 0.2), (5, 0.9, 0.1))
]


def test_what_is_better_higher_is_maximised_and_shown_as_it_is():
    base = row(9.0, 3.0, forget_quality=0.05, model_utility=0.7)
    frontier = whole(UTILITIES, base=base, objectives=("forget_quality", "model_utility"))
    assert [point["step"] for point in frontier.points] == [4, 2, 1], "the best of the first objective first"
    assert frontier.reference_point == (0.05, 0.1), "no unlearning; and the worst, since the base model has the best"
    areas = 0.85 * 0.1 + 0.35 * (0.5 - 0.2) + 0.05 * (0.6 - 0.5)
    assert frontier.hypervolume == pytest.approx(areas)
    assert [frontier.shown(point) for point in frontier.points] == [(0.9, 0.2), (0.4, 0.5), (0.1, 0.6)]
    assert (frontier.levels, frontier.targets) == ((None, None), [])
    against = whole(UTILITIES, base=base, objectives=("step", "model_utility"))
    assert [point["step"] for point in against.points] == [1]


def test_what_is_better_higher_has_no_bound_from_above():
    for objectives, bounds, option in (
        (("forget_quality", "performance"), {"exposures_at_most": [0.5]}, "--exposure-at-most"),
        (("gen_ex_abs", "model_utility"), {"performance_at_most": 0.5}, "--performance-at-most"),
    ):
        with pytest.raises(SweepError, match=f"{option}: of '{objectives[option.startswith('--p')]}' more is better"):
            require_bounds(objectives, bounds.get("exposures_at_most", ()), bounds.get("performance_at_most", math.inf))
    require_bounds(("unlearning_quality", "performance"), [2.0], 4.0)
    require_bounds(("forget_quality", "performance"), (), 4.0)


def test_a_column_that_was_not_measured_has_no_frontier():
    assert whole([row(1.0, 3.0)], objectives=("gen_ex_abs", "performance")).points == []


TARGETS = [
    row(9.0, 3.0, step=1), row(4.0, 3.5, step=2), row(4.0, 3.2, step=4), row(2.0, 3.2, step=9), row(0.5, 4.0, step=9),
    row(2.0, 3.9, step=4, trial_id="u"), row(2.0, 3.2, step=9, trial_id="u"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("exposure", "performance", "cheapest", "best"),
    [
        (9.0, math.inf, ("t", 1), ("t", 1)),
        (5.0, math.inf, ("t", 2), ("t", 4)),  # equal performance: fewer steps
        (2.0, math.inf, ("u", 4), ("t", 9)),  # equal in all: the first trial
        (2.0, 3.5, ("t", 9), ("t", 9)),
        (0.5, math.inf, ("t", 9), ("t", 9)),
        (0.5, 3.5, None, None),
        (0.4, math.inf, None, None),
        (math.inf, 2.9, None, None),
    ],
)
def test_targets(exposure, performance, cheapest, best):
    (target,) = whole(TARGETS, exposures_at_most=[exposure], performance_at_most=performance).targets
    found = [None if r is None else (r["trial_id"], r["step"]) for r in (target.cheapest, target.best)]
    assert found == [cheapest, best]


def test_a_target_says_what_it_costs():
    (target,) = whole(TARGETS, exposures_at_most=[5.0]).targets
    assert (target.cheapest["step"], target.cheapest["elapsed_s"]) == (2, 1.0)


def test_targets_have_bounds_in_bits_by_default_and_none_in_other_units():
    assert [target.exposure_at_most for target in whole(TARGETS).targets] == [16.0, 8.0, 4.0, 2.0]
    base = row(10.0, 3.0, population_nll=5.0)
    assert whole(TARGETS, base=base, objectives=("forget_nll", "performance")).targets == []
    assert whole(TARGETS, objectives=("extraction_rate", "performance")).targets == []


REFERENCES = [
    row(q, 3.1, gen_ex=g, gen_ex_abs=q, rel_ex=r, membership_auc=a, forget_nll=n)
    for q, g, r, a, n in ((7.0, -1.5, 0.99, 0.5, 5.0), (8.0, 1.0, 1.17, 0.54, 5.5))
]


def test_the_floor_is_what_the_reference_models_have():
    frontier = whole(TARGETS, references=REFERENCES)
    floor = frontier.floor["unlearning_quality"]
    assert (floor.mean, floor.low, floor.high, floor.models) == (7.5, 7.0, 8.0, 2)
    assert frontier.floor["rel_ex"].mean == pytest.approx(1.08)
    assert frontier.exposure_floor == 7.5
    assert whole(TARGETS).floor == {}
    assert whole(TARGETS).exposure_floor is None


def test_no_default_target_is_below_the_floor_and_the_last_is_the_floor():
    targets = whole(TARGETS, references=REFERENCES).targets
    assert [target.exposure_at_most for target in targets] == [30.0, 15.0, 7.5]
    assert not any(target.below_floor for target in targets)
    signed = whole(TARGETS, references=REFERENCES, objectives=("gen_ex", "performance"))
    assert signed.exposure_floor == pytest.approx(1.25)
    assert [target.exposure_at_most for target in signed.targets] == [16.0, 8.0, 4.0, 2.0]


def test_a_target_that_was_asked_for_stays_and_says_that_it_is_below_the_floor():
    targets = whole(TARGETS, references=REFERENCES, exposures_at_most=[2.0, 7.5, 9.0]).targets
    assert [(target.exposure_at_most, target.below_floor) for target in targets] == [
        (2.0, True), (7.5, False), (9.0, False),
    ]  # fmt: skip
    assert targets[0].best is not None
    assert not any(target.below_floor for target in whole(TARGETS, exposures_at_most=[0.1]).targets)


def test_an_over_unlearned_model_is_never_first():
    rows = [
        row(abs(gen_ex), performance, step=step, gen_ex=gen_ex, rel_ex=rel_ex, membership_auc=auc)
        for step, (gen_ex, performance, rel_ex, auc) in enumerate(
            [(32.0, 3.0, 6.0, 0.9), (12.0, 3.1, 3.0, 0.7), (-1.0, 3.3, 1.4, 0.5), (-347.0, 4.5, 0.1, 0.1),
             (-628.0, 5.5, 0.0, 0.0)]
        )
    ]  # fmt: skip
    for objectives in (("gen_ex", "performance"), ("rel_ex", "performance"), ("membership_auc", "performance")):
        frontier = whole(rows, base=row(32.0, 3.0, gen_ex=32.0, rel_ex=6.0, membership_auc=0.9), objectives=objectives)
        assert [point["step"] for point in frontier.points] == [2, 1, 0], objectives
        assert frontier.knee["step"] == 1
        assert frontier.minimised(rows[4])[0] > frontier.minimised(rows[2])[0]
        assert all(target.best["step"] <= 2 for target in frontier.targets if target.best)


@pytest.mark.parametrize(
    ("objective", "level"),
    [("gen_ex", 0.0), ("rel_ex", 1.08), ("membership_auc", 0.52), ("forget_nll", 5.25), ("gen_ex_abs", None)],
)
def test_the_level_of_a_signed_measure_is_that_of_the_reference_models(objective, level):
    frontier = whole(TARGETS, references=REFERENCES, objectives=(objective, "performance"))
    assert frontier.levels == (pytest.approx(level), None)


@PROPERTY
@given(
    st.lists(st.tuples(st.integers(-600, 600), st.integers(0, 20)), min_size=1, max_size=30),
    st.sampled_from(["gen_ex", "rel_ex", "membership_auc", "forget_nll"]),
    st.integers(0, 2**30),
)
def test_a_frontier_of_a_signed_measure_does_not_see_the_side(offsets, measure, flips):
    """Whether a model is as far above the level or below changes nothing of its frontier but the value itself."""
    references = [row(7.5, 3.1, gen_ex=0.0, rel_ex=1.0, membership_auc=0.5, forget_nll=5.0)]
    level = whole([], references=references, objectives=(measure, "performance")).levels[0]
    sides = [-1.0 if flips >> index & 1 else 1.0 for index in range(len(offsets))]
    found = [
        whole(
            [
                row(1.0, float(performance), step=step, **{measure: level + side * offset})
                for step, ((offset, performance), side) in enumerate(zip(offsets, chosen, strict=True))
            ],
            references=references,
            objectives=(measure, "performance"),
        )
        for chosen in ([1.0] * len(offsets), sides)
    ]
    steps, others = ([point["step"] for point in frontier.points] for frontier in found)
    assert steps == others
    assert found[0].hypervolume == found[1].hypervolume
    knees = [frontier.knee and frontier.knee["step"] for frontier in found]
    assert knees[0] == knees[1]


def test_one_seed_has_no_interval():
    frontier = whole([row(1.0, 3.0, gen_ex=-1.0)], base=row(10.0, 3.0))
    assert frontier.hypervolume_by_seed is None
    assert (frontier.steps_to_unlearn["gen_ex"], frontier.steps_intervals["gen_ex"]) == ({"sgd": 0.5}, {"sgd": None})
    assert frontier.by_setting["gen_ex"][0].steps.models == 1


def test_intervals_are_over_seeds():
    rows = [row(4.0 + seed, 3.0, trial_id=f"t{seed}", step=8, seed=seed, gen_ex=-2.0 * seed) for seed in range(3)]
    frontier = whole(rows, base=row(10.0, 3.0, gen_ex=4.0), floor=1.0)
    by_seed = frontier.hypervolume_by_seed
    assert frontier.hypervolume == 6.0
    assert (by_seed.low, by_seed.estimate, by_seed.high) == pytest.approx((4.0, 5.0, 6.0))
    (setting,) = frontier.by_setting["gen_ex"]
    assert (setting.settings, setting.trials, setting.reached, setting.reached_by_all) == (SETTING, 3, 3, True)
    steps = setting.steps
    assert (steps.mean, steps.low, steps.high, steps.models) == pytest.approx((52 / 9, 4.0, 8.0, 3))
    assert frontier.steps_to_unlearn["gen_ex"] == {"sgd": pytest.approx(16 / 3)}, "their median"
    interval = frontier.steps_intervals["gen_ex"]["sgd"]
    assert (interval.low, interval.high, interval.seeds) == (pytest.approx(4.0), pytest.approx(8.0), 3)


def test_replicates_are_pooled_each_against_its_own_base_model_and_resampled_as_wholes():
    trials = [(seed, replicate) for seed in range(2) for replicate in range(3)]
    rows = [
        row(
            4.0 + replicate, 3.0 + replicate, trial_id=f"t{seed}{replicate}", step=8, seed=seed, replicate=replicate,
            gen_ex=-1.0 - replicate,
        )
        for seed, replicate in trials
    ]  # fmt: skip
    bases = {replicate: row(10.0, 2.5 + replicate, gen_ex=4.0, gen_ex_abs=4.0, model="base") for replicate in range(3)}
    frontier = whole(rows, bases=bases, floor=4.0)
    assert [c.cost for c in sorted(frontier.crossings["gen_ex"], key=lambda c: c.trial_id)] == pytest.approx(
        [0.5 * 4 / (5 + replicate) for _, replicate in trials]
    )
    (setting,) = frontier.by_setting["gen_ex"]
    assert (setting.trials, setting.replicates, setting.reached) == (6, 3, 6)
    assert (frontier.seeds, frontier.replicates, frontier.base["performance"]) == (2, 3, 3.5)
    for interval in (frontier.hypervolume_by_seed, frontier.steps_intervals["gen_ex"]["sgd"]):
        assert (interval.seeds, interval.over) == (3, "replicates")
    assert frontier.steps_intervals["gen_ex"]["sgd"].low == pytest.approx(8 * 4 / 7)
    assert [lost_against_base(point, frontier) for point in frontier.points] == pytest.approx([0.5] * 1)
    notes = " ".join(frontier_notes(frontier))
    assert "in 3 replicates, pooled" in notes
    assert "base models, mean of 3" in notes
    assert "of one replicate on average" in notes
    assert "bootstrap interval over 3 replicates" in interval_note([frontier])
    assert "mean over the seeds and replicates" in price_note([frontier], "gen_ex")


def test_a_crossing_is_interpolated_between_two_evaluations():
    trial = [row(6, 3.0, step=2, gen_ex=6.0), row(3, 3.2, step=4, gen_ex=3.0), row(1, 4.0, step=8, gen_ex=-1.0)]
    crossing = crossing_of(trial, row(9, 2.5, gen_ex=9.0), "gen_ex")
    assert crossing.steps == pytest.approx(7.0)
    assert crossing.performance == pytest.approx(3.8)
    assert crossing.cost == pytest.approx(1.3)
    assert crossing.elapsed_s == pytest.approx(3.5)
    assert crossing_of(trial, None, "gen_ex").cost is None


def test_a_crossing_before_the_first_evaluation_starts_at_the_base():
    crossing = crossing_of([row(2, 4.0, step=8, gen_ex=-2.0)], row(6, 3.0, gen_ex=6.0), "gen_ex")
    assert (crossing.steps, crossing.performance, crossing.cost) == pytest.approx((6.0, 3.75, 0.75))


def test_a_crossing_says_what_it_costs_on_data_of_its_own_kind():
    known = {"population_nll": 2.0, "distractor_nll": 1.0}
    base = row(6, 3.0, gen_ex=6.0, **known)
    trial = [
        row(3, 3.0, step=4, gen_ex=2.0, **known),
        row(1, 3.2, step=8, gen_ex=-2.0, population_nll=4.0, distractor_nll=2.5),
    ]
    crossing = crossing_of(trial, base, "gen_ex")
    assert (crossing.cost, crossing.population_cost, crossing.distractor_cost) == pytest.approx((0.1, 1.0, 0.75))
    assert (crossing.population_nll, crossing.distractor_nll) == pytest.approx((3.0, 1.75))
    old = [{**own, "population_nll": None} for own in trial[:1]] + trial[1:]
    crossing = crossing_of(old, base, "gen_ex")
    assert (crossing.cost, crossing.population_nll, crossing.population_cost) == (pytest.approx(0.1), None, None)
    assert crossing.distractor_cost == pytest.approx(0.75)
    assert crossing_of(trial, None, "gen_ex").population_cost is None


def test_which_forget_set_is_cheaper_may_turn_round_on_data_of_its_own_kind():
    """Verses and personal data as the demo had them: what is cheap on held-out verses is dear on its own kind."""
    costs = {"verses": (0.261, 0.082, None), "personal_data": (0.016, 0.797, 0.754)}
    cheapest = {}
    for name, (heldout, population, distractor) in costs.items():
        start = {"population_nll": 2.0, "distractor_nll": None if distractor is None else 1.0}
        end = {
            "population_nll": 2.0 + 2 * population,
            "distractor_nll": None if distractor is None else 1.0 + 2 * distractor,
        }
        base = row(9, 4.332, gen_ex=30.0, **start)
        trial = [row(9, 4.332, step=0, gen_ex=30.0, **start), row(9, 4.332 + 2 * heldout, step=20, gen_ex=-30.0, **end)]
        (found,) = whole(trial, base=base).crossings["gen_ex"]
        cheapest[name] = found
        assert (found.cost, found.population_cost) == pytest.approx((heldout, population))
        assert found.distractor_cost == (None if distractor is None else pytest.approx(distractor))
    assert cheapest["verses"].cost > cheapest["personal_data"].cost
    assert cheapest["verses"].population_cost < cheapest["personal_data"].population_cost


def test_prices_on_data_of_its_own_kind_are_objectives():
    rows = [
        row(1.0, 3.0, step=1, population_nll=5.0, distractor_nll=1.0),
        row(1.0, 3.1, step=2, population_nll=4.0, distractor_nll=2.0),
    ]
    for name, best in (("population_nll", 2), ("distractor_nll", 1), ("performance", 1)):
        (point,) = whole(rows, base=row(9.0, 3.0), objectives=("unlearning_quality", name)).points
        assert point["step"] == best
    older = [{**own, "population_nll": None} for own in rows]
    assert whole(older, objectives=("unlearning_quality", "population_nll")).points == []


def test_seeds_that_are_equal_but_for_rounding_have_no_interval():
    def rows_of(apart):
        return [
            row(10 - step + apart * seed, 3.0 + step / 10 + apart * seed, trial_id=f"t{seed}", step=step, seed=seed,
                gen_ex=8.0 - step * (1 + apart * seed))
            for seed in range(3) for step in (4, 8, 12)
        ]  # fmt: skip

    base = row(10.0, 3.0, gen_ex=8.0)
    equal = whole(rows_of(1.5e-7), base=base)
    assert equal.seeds_agree
    assert (equal.hypervolume_by_seed, equal.steps_intervals["gen_ex"]) == (None, {"sgd": None})
    apart = whole(rows_of(0.05), base=base)
    assert not apart.seeds_agree
    assert apart.hypervolume_by_seed.seeds == apart.steps_intervals["gen_ex"]["sgd"].seeds == apart.seeds == 3


def test_what_is_not_a_number_is_passed_over():
    trial = [row(1, 3.0, step=step, gen_ex=gen_ex) for step, gen_ex in ((0, 4.0), (2, math.nan), (3, None), (4, -4.0))]
    assert crossing_of(trial, None, "gen_ex").steps == 2.0
    assert crossing_of(trial, row(1, 3.0, gen_ex=None), "gen_ex").steps == 2.0


def test_no_crossing_joins_two_trials():
    trials = [row(1, 3.0, trial_id=name, step=2, gen_ex=gen_ex) for name, gen_ex in (("a", 4.0), ("b", -4.0))]
    assert crossing_of(trials, None, "gen_ex") is None
    assert crossing_of(trials, row(1, 3.0, gen_ex=4.0), "gen_ex").trial_id == "b"


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


def test_crossings_come_cheapest_first_and_settings_with_their_means():
    rows = [
        row(1, performance + step, step=step, trial_id=name, gen_ex=gen_ex)
        for name, performance in (("dear", 5.0), ("cheap", 3.0))
        for step, gen_ex in ((0, 1.0), (2, -1.0))
    ]
    frontier = whole(rows)
    assert [crossing.trial_id for crossing in frontier.crossings["gen_ex"]] == ["cheap", "dear"]
    assert frontier.steps_to_unlearn["gen_ex"] == {"sgd": 1.0}


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
        assert [r["model"] for r in frontier.references] == ["reference-0", "reference-1"]
        assert frontier.exposure_floor == 2.5
        assert json.loads(as_json(frontier.as_json()))["trials"] == frontier.trials == 4
    assert [f.forget_set for f in frontiers(ledger, "people")] == ["people"]


def test_a_frontier_reads_no_examples_and_writes_plain_json(tmp_path, monkeypatch):
    ledger = write_sweep(tmp_path, make_spec(seeds=[0, 1]))
    read = []
    table = Ledger.table
    monkeypatch.setattr(Ledger, "table", lambda self, name: read.append(name) or table(self, name))
    (verses,) = frontiers(ledger, "verses")
    assert read == ["evaluations"]
    plain = json.loads(as_json(verses.as_json()))
    assert set(plain) == {
        "forget_set", "distribution", "objectives", "trials", "evaluations", "points", "reference_point",
        "reference_origin", "hypervolume", "hypervolume_by_seed", "knee", "targets", "base", "references", "copying",
        "crossings", "by_setting", "measures", "priced",
        "steps_intervals", "steps_to_unlearn", "levels", "floor", "exposure_floor", "seeds", "seeds_agree",
        "chosen", "replicates", "bases", "bucket", "matched_within",
    }  # fmt: skip
    assert plain["floor"]["gen_ex_abs"] == {"mean": 0.5, "low": 0.5, "high": 0.5, "models": 2}
    assert "chosen on the same evaluations" in plain["chosen"]
    assert plain["objectives"] == ["unlearning_quality", "performance"]
    assert plain["hypervolume_by_seed"]["seeds"] == 2
    assert plain["targets"][0]["performance_at_most"] is None
    assert frontiers(ledger, "verses") == [verses]


@pytest.mark.parametrize(
    ("objectives", "said"),
    [
        (("gen_ex_abs", "performence"), "did you mean 'performance'"),
        (("optimizer", "performance"), "'optimizer' is not a number that can be minimised"),
        (("other_metrics", "performance"), "'other_metrics' is not a number that can be minimised"),
        (("step", "step"), "twice"),
    ],
)
def test_wrong_objectives_are_named(written_sweeps, objectives, said):
    with pytest.raises(SweepError, match=said):
        frontiers(open_sweep("first", str(written_sweeps)), objectives=objectives)


def test_a_signed_measure_without_any_level_is_refused():
    with pytest.raises(SweepError, match="of 'forget_nll' less is not better"):
        whole(TARGETS, objectives=("forget_nll", "performance"))


@pytest.mark.parametrize(
    ("references", "said"),
    [
        (0, r"this sweep has no reference models .*; take gen_ex_abs"),
        (1, r"the only reference model .* takes two; take rel_ex_p95, gen_ex_abs"),
        (2, r"the rows of this sweep's reference models lack it"),
    ],
)
def test_a_tail_without_a_level_says_why(references, said):
    """One reference model is measured against no other, and has no generalized exposure."""
    rows = [row(7.0, 3.1, gen_ex_p95=None, rel_ex_p95=1.5)] * references
    with pytest.raises(SweepError, match=f"of 'gen_ex_p95' less is not better.* and {said}"):
        whole(TARGETS, references=rows, objectives=("gen_ex_p95", "performance"))
    if references:
        assert whole(TARGETS, references=rows, objectives=("rel_ex_p95", "performance")).levels == (1.5, None)


def test_every_measure_is_a_number_of_an_evaluation():
    assert all(pa.types.is_primitive(EVALUATIONS.field(name).type) for name in (*MINIMISED, *MAXIMISED))
    assert set(MAXIMISED) == {"bleu", "chrf", "truth_ratio", "forget_quality", "model_utility"}
    assert not {*MINIMISED} & {*MAXIMISED}
    assert {"unlearning_quality", "performance", "membership_auc", "elapsed_s"} <= set(MINIMISED)


def test_trials_of_different_settings_are_never_summed_up():
    trials = [("a", "npo beta=0.1 · sgd lr=0.1 · batch 4", 4), ("b", "npo beta=1 · sgd lr=0.1 · batch 4", 8)]
    trials += [("c", trials[1][1], 12)]
    rows = [
        row(1.0, 3.0 + step, step=step + more, trial_id=trial, settings=text, setting_id=text[9:12], gen_ex=1.0 - more)
        for trial, text, step in trials
        for more in (0, 2)
    ]
    frontier = whole(rows)
    means = {own.settings: own.steps.mean for own in frontier.by_setting["gen_ex"]}
    assert means == {trials[0][1]: 5.0, trials[1][1]: 11.0}
    assert [setting.trials for setting in frontier.by_setting["gen_ex"]] == [1, 2]


def test_the_steps_of_a_method_are_those_of_its_best_setting_over_its_seeds():
    """Each trial is (seed, performance, steps to the end of the exposure; None: never)."""
    settings = {
        ("gradient_ascent", "1e-05"): [(0, 3.5, 40), (1, 3.5, 60)],
        ("gradient_ascent", "2e-05"): [(0, 3.1, 4), (1, 3.1, 6), (2, 3.1, 14)],
        ("gradient_ascent", "1e-03"): [(0, 2.0, 1), (1, 2.0, None)],
        ("npo", "1e-05"): [(0, 4.0, 9)],
        ("ceu", "1e-05"): [(0, 4.0, None)],
    }
    rows = [
        row(1.0, performance, step=step, trial_id=f"{objective}{rate}{seed}", objective=objective, seed=seed,
            learning_rate=float(rate), batch_size=4, gen_ex=gen_ex)
        for (objective, rate), trials in settings.items()
        for seed, performance, end in trials
        for step, gen_ex in ([(2, 1.0)] if end is None else [(end - 1, 1.0), (end + 1, -1.0)])
    ]  # fmt: skip
    frontier = whole(rows)
    assert frontier.steps_to_unlearn["gen_ex"] == {"npo sgd": 9.0, "sgd": 6.0}, "a rate that ends it on one seed is not"
    interval = frontier.steps_intervals["gen_ex"]["sgd"]
    assert (interval.low, interval.estimate, interval.high, interval.seeds) == (4.0, 6.0, 14.0, 3)
    assert frontier.steps_intervals["gen_ex"]["npo sgd"] is None


def test_trials_of_older_versions_without_settings_go_by_what_their_columns_tell():
    rows = [
        row(1.0, 3.0, step=2, trial_id=trial, gen_ex=-1.0, learning_rate=rate, batch_size=4)
        for trial, rate in (("a", 0.1), ("b", 0.10000001), ("c", 0.1))
    ]
    settings = whole(rows, base=row(9.0, 3.0, gen_ex=3.0)).by_setting["gen_ex"]
    assert {own.settings: own.trials for own in settings} == {
        "gradient_ascent · sgd lr=0.1 · batch 4": 2, "gradient_ascent · sgd lr=0.10000001 · batch 4": 1,
    }  # fmt: skip


def path(trial_id, settings, *costs, seed=0):
    """A trial whose GenEx is 0 at step 10, at a performance of 3 + cost; or, without one, that stays exposed."""
    end = -10.0 if costs else 1.0
    lost = costs[0] if costs else 0.1
    more = {"settings": settings, "setting_id": settings, "trial_id": trial_id, "seed": seed}
    return [
        row(10.0, 3.0, step=0, gen_ex=10.0, **more),
        row(abs(end), 3.0 + 2 * lost, step=20, gen_ex=end, **more),
    ]


def test_the_best_setting_is_the_cheapest_of_those_that_every_seed_ends_the_exposure_with():
    rows = [
        *path("a", "lucky", 0.1), *path("b", "lucky", seed=1),
        *path("c", "dear", 0.5), *path("d", "dear", 0.3, seed=1),
        *path("e", "never"), *path("f", "cheap", 0.2), *path("g", "cheap", 0.4, seed=1),
    ]  # fmt: skip
    frontier = whole(rows, base=row(10.0, 3.0, gen_ex=10.0))
    found = frontier.by_setting["gen_ex"]
    assert [(own.settings, own.reached, own.trials) for own in found] == [
        ("cheap", 2, 2), ("dear", 2, 2), ("lucky", 1, 2), ("never", 0, 1),
    ]  # fmt: skip
    cost = found[0].lost["performance"]
    assert (cost.mean, cost.low, cost.high) == pytest.approx((0.3, 0.2, 0.4))
    assert found[0].lost["population_nll"] is found[3].steps is found[3].performance is None
    assert frontier.price("gen_ex") == found[0]
    assert frontier.priced["trial_id"] == "f", "the cheapest trial of that setting"
    assert whole(path("e", "never")).price("gen_ex") is whole(path("e", "never")).priced is None


def test_a_price_says_what_is_left_there_by_the_measure_of_the_frontier():
    """Half of the examples 10 bits exposed, half 10 bits over-unlearned: a mean of 0, and a mean |GenEx| of 10."""
    rows = [row(12.0, 3.0, step=4, gen_ex=4.0), row(8.0, 3.4, step=8, gen_ex=-4.0)]
    frontier = whole(rows, base=row(30.0, 3.0, gen_ex=30.0))
    price = frontier.price("gen_ex")
    assert (price.steps.mean, price.unlearning_quality.mean, price.lost["performance"].mean) == pytest.approx(
        (6.0, 10.0, 0.2)
    )
    assert frontier.priced["step"] == 4, "of equally near ones the earlier"


def test_step_0_never_stands_for_the_price():
    rows = [row(10.0, 3.0, step=0, gen_ex=1.0), row(9.0, 4.0, step=50, gen_ex=-30.0)]
    frontier = whole(rows, base=row(10.0, 3.0, gen_ex=1.0))
    assert frontier.price("gen_ex").steps.mean < 2
    assert frontier.priced["step"] == 50


def test_without_reference_models_the_price_is_of_relative_exposure():
    rows = [row(1.0, 3.0 + step, step=step, gen_ex=None, rel_ex=4.0 - step) for step in (1, 4)]
    frontier = whole(rows, base=row(2.0, 3.0, gen_ex=None, rel_ex=4.0))
    assert (frontier.measures, frontier.measure) == (["rel_ex"], "rel_ex")
    assert frontier.priced["step"] == 4
    assert whole([*rows, row(1.0, 3.0, step=9)]).measures == ["gen_ex", "rel_ex"]
    assert whole([]).measures == []
