"""What Tune is told of trials, and what it may keep of them."""

import cloudpickle
import pytest
from ray.tune import Callback
from ray.tune.experiment import Trial

from orchestrator.run.executors.ray_tune import _Listener
from trainables.tune import TRIAL


class Heard:
    """Notes what it is told."""

    def __init__(self):
        self.ends = []

    def ended(self, tune_id, result):
        self.ends.append((tune_id, dict(result)))

    def failed(self, tune_id, failure):
        self.ends.append((tune_id, failure.message))


def kept_of(way: str, *, metrics: int) -> int:
    """Return the bytes that Tune keeps of an ended trial that has reported so many metrics."""
    trial, told = Trial("unlearning", config={TRIAL: None}, trial_id="a", evaluated_params={}, stub=True), Heard()
    for number in range(3):
        reported = {f"metric_{place}": float(number + place) for place in range(metrics)}
        trial.update_last_result({**reported, "training_iteration": number})
    listener: Callback = _Listener(told)
    getattr(listener, f"on_trial_{way}")(iteration=1, trials=[trial], trial=trial)
    ((name, result),) = told.ends
    assert name == "a"
    if way == "complete":
        assert result["metric_0"] == 2.0  # told first, dropped then
    assert trial.get_json_state() == ("{}", "{}")
    return len(cloudpickle.dumps(vars(trial)))


@pytest.mark.parametrize("way", ["complete", "error"])
def test_what_tune_keeps_of_a_trial_that_has_ended_does_not_grow_with_what_it_reported(way):
    assert kept_of(way, metrics=1) == kept_of(way, metrics=100)
