"""Every spec that ships validates and can be planned."""

import pytest

from orchestrator.plan import plan_sweep
from orchestrator.spec import load_spec
from search_spaces import shipped_specs


def test_the_demo_ships():
    assert "demo" in shipped_specs()


@pytest.mark.parametrize("name", sorted(shipped_specs()))
def test_a_shipped_spec_validates_and_plans(name):
    spec = load_spec(name)
    assert spec.name == name
    plan = plan_sweep(spec, concurrent_trials=2)
    assert plan.trials == plan.strata * plan.trials_per_stratum > 0


def test_no_spec_is_the_demo():
    assert load_spec() == load_spec("demo")
