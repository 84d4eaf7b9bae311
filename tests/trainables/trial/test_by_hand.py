"""Trials give the numbers of a loop that is written by hand."""

from typing import Any

import pytest

from tests.benchmarks.by_hand import SETS, trajectory
from tests.support import MemorySink, run_to_end, tiny_trial, tiny_workload
from trainables.trial import Engine


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adamw", "learning_rate": 0.01, "clip_norm": None},
        {"optimizer": "adamw", "learning_rate": 0.01, "clip_norm": 1.0, "weight_decay": 0.1, "batch_size": 4},
        {"optimizer": "sgd", "learning_rate": 0.1, "clip_norm": None, "momentum": 0.9},
        {"optimizer": "sgd", "learning_rate": 0.1, "clip_norm": 0.5, "batch_size": 4},
    ],
)
def test_a_trial_gives_the_numbers_of_the_loop_by_hand(settings: dict[str, Any]) -> None:
    workload, results = tiny_workload(max_increase=20.0), MemorySink()
    trial = tiny_trial(steps=(0, 1, 2, 5, 9), **settings)
    run_to_end(Engine(workload), trial, results)
    model = workload.base.build()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sets = workload.evaluation_sets[trial.forget_set]
    by_hand = list(trajectory(model, weights, sets, trial, batch_size=workload.evaluation.batch_size))
    found = [
        {"step": own.step, **{name: getattr(own, name) for name in SETS.values()}} for own in results.rows["trial"][0]
    ]
    assert len(found) == 5
    for own, expected in zip(found, by_hand, strict=True):
        assert own == pytest.approx(expected, rel=1e-5)
    assert found[-1]["forget_nll"] > found[0]["forget_nll"] + 0.01
