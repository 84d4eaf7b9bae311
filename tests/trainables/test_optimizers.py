"""Optimizers by name with their settings, and schedules as functions of the step."""

import pytest
import torch

from trainables.config import TrialConfig
from trainables.errors import UnlearningError
from trainables.optimizers import build_optimizer, check_optimizer, learning_rate_at


def trial(**fields):
    return TrialConfig(**{"optimizer": "sgd", "learning_rate": 0.5, "batch_size": 1, **fields})


def parameter():
    return torch.nn.Parameter(torch.tensor([2.0]))


def test_sgd_takes_momentum_and_weight_decay():
    optimizer = build_optimizer([parameter()], trial(momentum=0.9, weight_decay=0.1))
    assert isinstance(optimizer, torch.optim.SGD)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.5, 0.9, 0.1)


def test_adamw_decays_weights_by_what_it_is_told_and_not_by_its_own_default():
    optimizer = build_optimizer([parameter()], trial(optimizer="adamw"))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["weight_decay"] == 0.0
    assert build_optimizer([parameter()], trial(optimizer="adamw", weight_decay=0.2)).defaults["weight_decay"] == 0.2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "adam"}, r"unknown optimizer 'adam'; did you mean 'adamw'\? allowed: adamw, sgd"),
        ({"schedule": "linaer"}, r"unknown schedule 'linaer'; did you mean 'linear'\? allowed: constant, linear"),
        ({"optimizer": "adamw", "momentum": 0.9}, "optimizer 'adamw' has no 'momentum'"),
    ],
)
def test_a_mistake_says_what_is_allowed(fields, message):
    with pytest.raises(UnlearningError, match=message):
        check_optimizer(trial(**fields))


def test_the_constant_schedule_does_not_look_at_the_horizon():
    rates = [learning_rate_at(step, trial(), horizon) for step in (1, 5, 100) for horizon in (None, 5, 1000)]
    assert set(rates) == {0.5}


def test_warm_up_is_in_steps_and_ends():
    rates = [learning_rate_at(step, trial(warmup_steps=4), None) for step in range(1, 7)]
    assert rates == pytest.approx([0.125, 0.25, 0.375, 0.5, 0.5, 0.5])


def test_the_linear_schedule_falls_from_the_full_rate_and_never_reaches_zero():
    rates = [learning_rate_at(step, trial(schedule="linear"), 4) for step in range(1, 5)]
    assert rates == pytest.approx([0.5, 0.375, 0.25, 0.125])
    assert learning_rate_at(3, trial(schedule="linear"), 100) != rates[2]


def test_the_linear_schedule_warms_up_too():
    rates = [learning_rate_at(step, trial(schedule="linear", warmup_steps=2), 4) for step in range(1, 5)]
    assert rates == pytest.approx([0.25, 0.375, 0.25, 0.125])
