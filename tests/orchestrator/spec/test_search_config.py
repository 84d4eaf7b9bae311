"""What a spec may say of its search, what is refused by name, and what may change when a sweep goes on."""

import json

import pytest

from orchestrator.errors import SweepError
from orchestrator.spec import amend_spec, compare, dump_spec, load_spec
from orchestrator.spec.search_config import duration_s
from tests.orchestrator.helpers import Driver, make_search, make_spec, memory_ledger
from tests.orchestrator.search.test_search import spec_for

RANGES = {"batch_size": 4, "learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}}
CMAES = {"sampler": "cmaes", "minimize": "unlearning_quality", "space": RANGES}


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("90m", 5400), ("2h", 7200), ("1h30m", 5400), ("1.5d", 129_600), ("0.5h", 1800)]
)
def test_a_duration_has_units(text, seconds):
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "2 h", "h", "-2h", "0s", "2h then", "2w"])
def test_what_is_no_duration_says_what_is(text):
    with pytest.raises(ValueError, match="expected a duration with units") as caught:
        duration_s(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"search": {"sampler": "cmaes", "space": RANGES}}, "search.minimize: cmaes takes one objective"),
        (
            {"search": {"sampler": "cmaes", "minimize": "unlearning_quality"}},
            "search.space: cmaes takes ranges alone; found the choice 'optimizer'",
        ),
        (
            {"search": {**CMAES, "space": {**RANGES, "batch_size": [2, 4]}}},
            "search.space: cmaes takes ranges alone; found the choice 'batch_size'",
        ),
        ({"search": {**CMAES, "space": {"batch_size": 4, "learning_rate": 1e-4}}}, "cmaes needs a range to search"),
        ({"search": {**CMAES, "extent": "sampled"}}, "search.extent: cmaes learns from whole trajectories"),
        ({"search": {"minimize": "performance"}}, "search.constraints.exposure_at_most"),
        ({"search": {"sampler": "nsga3", "minimize": "unlearning_quality"}}, "nsga3 spreads over a frontier"),
        ({"search": {"trials": None}}, "needs a number of trials for each stratum, or a search.budget"),
        (
            {"search": {"sampler": "brute_force", "trials": 3, "space": {**RANGES, "learning_rate": [1e-4, 1e-3]}}},
            "the space has 2 points, found 3",
        ),
        ({"search": {"sampler": "brute_force"}}, "needs 'grid_points'"),
        (
            {"search": {"budget": {"max_steps_total": 17}}},
            "search.budget.max_steps_total: 2 strata have equal shares, and one trial of each takes 9 steps; give at "
            "least 18, found 17",
        ),
        ({"search": {"budget": {"max_gpu_hours": 1}}}, "search.budget.max_gpu_hours: trials take no GPU"),
        ({"search": {"budget": {"max_wall": "2"}}}, "search.budget.max_wall: expected a duration with units"),
        ({"search": {"budget": {"max_wall": 7200}}}, "search.budget.max_wall: expected a text (found 7200)"),
        ({"search": {"budget": {"max_hours": 2}}}, "unknown key 'max_hours'"),
        ({"search": {"constraints": {"exposure": 2}}}, "did you mean 'exposure_at_most'"),
        ({"stop": {"halving": {"rungs": [3]}}}, "stop.halving.rungs: [3] are not on the step axis before"),
        ({"stop": {"halving": {"rungs": [9]}}}, "stop.halving.rungs: [9] are not on the step axis"),
        (
            {
                "steps": [2, 5, 9],
                "stop": {"halving": {"rungs": [2]}},
                "search": {"space": {**RANGES, "schedule": "linear"}},
            },
            "stop.halving: a schedule that depends on the total",
        ),
    ],
)
def test_what_makes_no_search_is_refused_by_name(sections, said):
    with pytest.raises(SweepError) as caught:
        make_spec(**sections)
    assert said in str(caught.value)


def test_every_new_setting_survives_being_written_down(tmp_path):
    spec = make_spec(
        search={
            **CMAES,
            "trials": None,
            "constraints": {"performance_increase_at_most": 0.5, "exposure_at_most": 2},
            "budget": {"max_steps_total": 400, "max_gpu_hours": 1.5, "max_wall": "1h30m"},
        },
        stop={"exposure_at_most": 0, "patience": 2, "halving": {"rungs": [2, 5], "reduction": 2}},
        resources={"gpus_per_trial": 1},
    )
    path = tmp_path / "spec.yaml"
    path.write_text(dump_spec(spec))
    assert load_spec(path) == spec
    assert spec.search.budget.max_wall_s == 5400


def changes(before, *overrides):
    spec = make_spec(**before)
    found = compare(spec, amend_spec(spec, overrides), {}, {})
    return [kind for kind in ("free", "additions", "breaking") if getattr(found, kind)]


STOPS = {"stop": {"exposure_at_most": 2.0, "halving": {"rungs": [2]}}}
BUDGET = {"search": {"budget": {"max_steps_total": 100, "max_wall": "90m"}}}


@pytest.mark.parametrize(
    ("before", "override", "kind"),
    [
        (BUDGET, "search.budget.max_steps_total=101", "additions"),
        (BUDGET, "search.budget.max_wall=2h", "additions"),
        (BUDGET, "search.budget.max_wall=null", "additions"),
        (BUDGET, "search.trials=null", "additions"),
        (BUDGET, "search.budget.max_wall=1h", "free"),
        (BUDGET, "search.budget.max_steps_total=99", "free"),
        ({}, "search.budget.max_wall=1h", "free"),
        (STOPS, "stop.exposure_at_most=1", "free"),
        (STOPS, "stop.halving=null", "free"),
        (STOPS, "stop.patience=9", "free"),
        ({}, "stop.halving.rungs=[2]", "free"),
        (STOPS, "stop.max_heldout_nll_increase=2", "breaking"),
        ({}, "search.constraints.performance_at_most=4", "breaking"),
        ({}, "search.minimize=unlearning_quality", "breaking"),
    ],
)
def test_budgets_grow_early_ends_are_free_and_what_steers_the_search_stays(before, override, kind):
    assert changes(before, override) == [kind]


PINNED = {
    "random": [0.00124, 0.00363, 0.00184, 0.000142],
    "qmc": [0.000418, 0.00351, 2.1e-05, 0.00867],
    "tpe": [0.00412, 0.00631, 0.000846, 0.00897],
    "nsga2": [0.00124, 0.00363, 0.00184, 0.000414],
}


@pytest.mark.parametrize("sampler", list(PINNED))
def test_without_bounds_and_budget_proposals_are_those_of_before_there_were_any(sampler):
    """Of the first stratum, the last four of twelve, to three digits: another machine may round the rest otherwise."""
    ledger = memory_ledger()
    Driver(make_search(spec_for(sampler, trials=12), ledger), ledger).run()
    rates = {p["number"]: row["learning_rate"] for row in ledger.trials() for p in json.loads(row["proposals"]) if row["stratum"] == "verses/seed=0"}  # fmt: skip # noqa: E501
    assert [float(f"{rates[number]:.3g}") for number in range(8, 12)] == PINNED[sampler]
