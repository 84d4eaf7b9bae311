"""Bounds of a search: how far beyond them an observation is, told to the study live and rebuilt; one objective."""

import math
import random

import pytest

from orchestrator.errors import SweepError
from orchestrator.ledger import DriverWriter, metric_row
from orchestrator.search.sampling import gaussian_process
from orchestrator.search.sampling.constraints import total_violation, violations
from orchestrator.spec import ConstraintsConfig
from tests.orchestrator.helpers import Driver, evaluation_record, make_search, make_spec, memory_ledger, of_model
from tests.orchestrator.search.test_samplers import LOST, study_of
from trainables.config import TrialConfig

BOUNDS = {"performance_at_most": 3.5, "performance_increase_at_most": 0.25, "exposure_at_most": 2.0}
BASE = 3.0


def ledger_with_baselines(performance=BASE):
    ledger = memory_ledger()
    base = of_model(evaluation_record(0, quality=10.0, performance=performance, gen_ex=10.0))
    DriverWriter(ledger).publish_baselines(
        [
            metric_row("baselines", {"model": "base", "forget_set": name, "replicate": 0, **base})
            for name in ("verses", "people")
        ]
    )
    return ledger


def ran(spec, ledger):
    search = make_search(spec, ledger)
    Driver(search, ledger).run()
    return search


def told(search):
    """Every observation by stratum: values, constraints."""
    return {
        name: [(t.values, t.constraints) for t in stratum.study.get_trials(deepcopy=False) if t.values is not None]
        for name, stratum in search.studies.items()
    }


def test_a_bound_is_exceeded_by_an_amount_in_its_own_unit():
    bounds = ConstraintsConfig(**BOUNDS)
    found = violations(bounds, (1.5, 4.0), feasible=True, base_performance=BASE)
    assert found == {
        "feasible": 0.0, "performance_at_most": 0.5, "performance_increase_at_most": 0.75, "exposure_at_most": -0.5,
    }  # fmt: skip
    assert total_violation(found) == 1.25
    lost = violations(bounds, (math.inf, math.inf), feasible=False, base_performance=BASE)
    assert set(lost.values()) == {1.0, math.inf}
    assert violations(ConstraintsConfig(), (9.0, 9.0), feasible=True, base_performance=None) == {"feasible": 0.0}


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2", "nsga3", "cmaes"])
def test_a_study_is_told_how_far_each_observation_exceeds_the_bounds_live_and_rebuilt(sampler):
    space = {"batch_size": 4, "learning_rate": {"low": 1e-5, "high": 9e-3, "log": True}}
    minimize = "unlearning_quality" if sampler == "cmaes" else "both"
    search = {"sampler": sampler, "trials": 8, "startup_trials": 2, "population_size": 4, "space": space}
    spec = make_spec(search={**search, "minimize": minimize, "constraints": BOUNDS})
    ledger = ledger_with_baselines()
    live = ran(spec, ledger)
    rows = {(r["stratum"], r["unlearning_quality"]): r for r in ledger.table("evaluations").to_pylist()}
    exceeded = 0
    for name, observations in told(live).items():
        for values, constraints in observations:
            if math.isinf(values[0]):
                assert constraints["exposure_at_most"] == math.inf
                continue
            row = rows[name, values[0]]
            assert constraints["performance_at_most"] == pytest.approx(row["performance"] - 3.5)
            assert constraints["performance_increase_at_most"] == pytest.approx(row["performance"] - 3.25)
            assert constraints["exposure_at_most"] == pytest.approx(values[0] - 2.0)
            exceeded += constraints["performance_at_most"] > 0 and row["status"] == "completed"
    assert exceeded, "the check would be empty"
    rebuilt = make_search(spec, ledger)
    assert told(rebuilt) == told(live)


def test_without_a_base_model_a_bound_that_is_measured_from_it_says_where_it_looked():
    spec = make_spec(search={"constraints": {"performance_increase_at_most": 0.5}})
    ledger = memory_ledger()
    with pytest.raises(SweepError, match=r"references/baselines\.parquet.*performance_increase_at_most"):
        ran(spec, ledger)


def test_a_bound_draws_proposals_to_where_it_is_kept():
    """Invented exposure falls and loss grows with the learning rate: a floor under performance keeps it low."""
    space = {"batch_size": 4, "learning_rate": {"low": 1e-6, "high": 4e-3, "log": True}}
    common = {"sampler": "tpe", "trials": 24, "startup_trials": 4, "space": space}

    def high_rates(constraints):
        spec = make_spec(search={**common, "constraints": constraints})
        ledger = memory_ledger()
        ran(spec, ledger)
        late = [row["learning_rate"] for row in ledger.trials() if row["number"] >= 10]
        return sum(rate > 1e-4 for rate in late)

    assert high_rates({"performance_at_most": 3.001}) < high_rates({}) / 2


@pytest.mark.parametrize(("minimize", "index"), [("unlearning_quality", 0), ("performance", 1)])
@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_one_objective_is_told_alone(sampler, minimize, index):
    search = {"sampler": sampler, "trials": 6, "startup_trials": 2, "population_size": 3, "minimize": minimize}
    spec = make_spec(search={**search, "constraints": {"exposure_at_most": 9.0}})
    ledger = memory_ledger()
    live = ran(spec, ledger)
    column = ("unlearning_quality", "performance")[index]
    for name, observations in told(live).items():
        own = sorted(r[column] for r in ledger.table("evaluations").to_pylist() if r["stratum"] == name)
        assert sorted(v for ((v,), _) in observations if math.isfinite(v)) == own
    assert told(make_search(spec, ledger)) == told(live)


def test_the_gaussian_process_is_told_amounts_and_of_what_is_lost_no_more_than_the_worst_that_is_not():
    study = study_of(
        ("adamw", 1e-5, 1, [9.0, 3.1], True),
        ("adamw", 1e-4, 5, [5.0, 4.0], True),
        ("adamw", 1e-2, 9, [1e6, 2e4], False),
        LOST,
    )
    trials = study.trials
    for trial in trials:
        trial.system_attrs["constraints:performance"] = trial.values[1] - 3.5
    bounded = [t for t in trials if "performance" in t.constraints]
    assert len(bounded) == 4, "the check would be empty"
    _, values, excess = gaussian_process._modelled(trials, random.Random(0))
    assert [e["performance"] for e in excess] == pytest.approx([-0.4, 0.5, 0.5, 0.5])
    assert [e["feasible"] for e in excess] == [-1.0, -1.0, 1.0, 1.0]
    assert values == [[9.0, 3.1], [5.0, 4.0], [9.0, 4.0], [9.0, 4.0]]


@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe", "nsga2", "nsga3", "gp", "brute_force"])
def test_an_objectives_weights_are_proposed_under_it_alone(sampler):
    listed = sampler == "brute_force"
    weight = [0.5, 1.0] if listed else {"low": 0.1, "high": 2.0}
    space = {
        "batch_size": 4,
        "learning_rate": [1e-4, 1e-3] if listed else {"low": 1e-5, "high": 1e-3, "log": True},
        "objective": {"choices": {"gradient_ascent": {}, "gradient_difference": {"retain_weight": weight}}},
    }
    trials = {"gp": 4, "brute_force": 6}.get(sampler, 10)
    search = {"sampler": sampler, "trials": trials, "startup_trials": 2, "population_size": 4, "space": space}
    ledger = memory_ledger()
    ran(make_spec(search=search), ledger)
    own = {"gradient_ascent": set(), "gradient_difference": {"retain_weight"}}
    objectives = set()
    for row in ledger.trials():
        config = TrialConfig.model_validate_json(row["config"])
        objectives.add(config.objective)
        assert set(config.objective_settings) == own[config.objective]
    assert len(objectives) > 1, "the check would be empty"
