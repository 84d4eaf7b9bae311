"""What a search learns from an evaluation: two numbers and whether it is feasible, of a record or of a row alike."""

import math
import pickle
from dataclasses import FrozenInstanceError

import pytest

from tests.orchestrator.helpers import evaluation_record
from trainables.records import DIVERGED_VALUES, Observation, Status


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.COLLAPSED])
def test_it_is_the_same_of_a_record_and_of_its_row(status):
    record = evaluation_record(5, quality=2.0, performance=3.5, status=status)
    columns = ("step", "unlearning_quality", "performance")
    row = {"status": status.value, **{name: getattr(record, name) for name in columns}}
    observation = Observation.of(record)
    assert observation == Observation.measured(**row) == pickle.loads(pickle.dumps(observation))
    assert observation == Observation(step=5, values=(2.0, 3.5), feasible=status is Status.COMPLETED)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None])
@pytest.mark.parametrize("name", ["unlearning_quality", "performance"])
def test_without_a_finite_number_both_values_are_infinite_and_it_is_infeasible(name, bad):
    row = {"step": 2, "status": "completed", "unlearning_quality": 1.0, "performance": 3.0, name: bad}
    observation = Observation.measured(**row)
    assert (observation.values, observation.feasible) == (DIVERGED_VALUES, False)


def test_nobody_changes_it():
    with pytest.raises(FrozenInstanceError):
        Observation(step=0, values=(1.0, 1.0), feasible=True).feasible = False
