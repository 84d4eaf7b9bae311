"""Optimizers by name with their settings, checked against their papers' formulas, and schedules."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from trainables.config import TrialConfig
from trainables.errors import UnlearningError
from trainables.optim import OPTIMIZERS, SCHEDULES, Horizon, build_optimizer, check_optimizer, learning_rate_at
from trainables.optim.curvature import is_due
from trainables.optim.sophia import Sophia


def trial(**fields):
    return TrialConfig(**{"optimizer": "sgd", "learning_rate": 0.5, "batch_size": 1, **fields})


def parameter():
    return torch.nn.Parameter(torch.tensor([2.0]))


def test_sgd_takes_momentum_and_weight_decay():
    optimizer = build_optimizer([parameter()], trial(momentum=0.9, weight_decay=0.1))
    assert isinstance(optimizer, torch.optim.SGD)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.5, 0.9, 0.1)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_decays_weights_by_what_it_is_told_and_not_by_its_own_default(optimizer):
    made = build_optimizer([parameter()], trial(optimizer=optimizer))
    assert made.param_groups[0]["weight_decay"] == 0.0
    assert made.param_groups[0]["lr"] == 0.5
    told = build_optimizer([parameter()], trial(optimizer=optimizer, weight_decay=0.2))
    assert told.param_groups[0]["weight_decay"] == 0.2


SETTINGS = [
    ("adamw", {"beta1": 0.5, "beta2": 0.6, "eps": 0.1}, {"betas": (0.5, 0.6), "eps": 0.1}),
    ("adafactor", {"beta2_decay": -0.5, "clip_threshold": 2.0}, {"beta2_decay": -0.5, "d": 2.0}),
    ("lion", {"beta1": 0.5, "beta2": 0.6}, {"betas": (0.5, 0.6)}),
    ("sophia", {"beta1": 0.5, "beta2": 0.6, "eps": 0.1}, {"betas": (0.5, 0.6), "eps": 0.1}),
    (
        "soap",
        {"beta1": 0.5, "beta2": 0.6, "eps": 0.1, "precondition_every": 3},
        {"betas": (0.5, 0.6), "eps": 0.1, "precondition_frequency": 3},
    ),
]


@pytest.mark.parametrize(("optimizer", "settings", "expected"), SETTINGS)
def test_settings_reach_the_optimizer(optimizer, settings, expected):
    group = build_optimizer([parameter()], trial(optimizer=optimizer, optimizer_settings=settings)).param_groups[0]
    assert {name: group[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "adam"}, r"unknown optimizer 'adam'; did you mean 'adamw'\? allowed: adafactor, adamw, lion, s"),
        ({"schedule": "linaer"}, r"unknown schedule 'linaer'; did you mean 'linear'\? allowed: constant, cosine, inv"),
        (
            {"optimizer": "adamw", "momentum": 0.9},
            "optimizer 'adamw' has no 'momentum'; sgd has it; allowed: beta1, beta2, eps, ",
        ),
        (
            {"optimizer": "lion", "optimizer_settings": {"beta_1": 0.9}},
            r"optimizer 'lion' has no 'beta_1'; did you mean 'beta1'\? allowed: beta1, beta2, weight_decay",
        ),
        (
            {"optimizer": "adamw", "optimizer_settings": {"beta1": 1.0}},
            r"optimizer 'adamw': beta1: it must be less than 1 \(found 1.0\)",
        ),
        (
            {"optimizer": "sophia", "optimizer_settings": {"hessian_every": 2.5}},
            "hessian_every: expected a whole number",
        ),
    ],
)
def test_a_mistake_says_what_is_allowed(fields, message):
    with pytest.raises(UnlearningError, match=message):
        check_optimizer(trial(**fields))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_frozen_parameters_are_left_out(optimizer):
    """Else a model of which adapters are trained has a state, and Sophia an estimate, as large as the model."""
    trained, frozen = parameter(), parameter().requires_grad_(False)
    assert build_optimizer([frozen, trained], trial(optimizer=optimizer)).param_groups[0]["params"] == [trained]


CURVATURES = torch.tensor([[1.0, 3.0, 0.3], [2.0, 0.5, 1.0]])


def descend(optimizer_name, learning_rate, steps):
    """Lower a quadratic whose curvature along each weight is known; give its values."""
    weights = torch.nn.Parameter(torch.tensor([[1.0, -2.0, 3.0], [-1.0, 2.0, 0.5]]))
    optimizer = build_optimizer([weights], trial(optimizer=optimizer_name, learning_rate=learning_rate))
    values = []
    for step in range(1, steps + 1):
        if is_due(optimizer, step):
            weights.grad = CURVATURES.sqrt()
            optimizer.estimate_curvature(1)
        loss = (CURVATURES * weights**2).sum() / 2
        values.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return values


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_lowers_a_quadratic_and_does_it_again_bit_for_bit(optimizer):
    values = descend(optimizer, 0.01, 500)
    assert values[-1] < values[0] / 20
    assert all(later <= earlier for earlier, later in pairwise(values[:10]))
    assert descend(optimizer, 0.01, 500) == values


def gradients(count, shape=(2, 3)):
    return np.random.default_rng(0).normal(size=(count, *shape))


def moved(optimizer, weights, given, before_step=None):
    """The weights after each step with the given gradients, in NumPy."""
    seen = []
    for step, gradient in enumerate(given, start=1):
        if before_step:
            before_step(step)
        weights.grad = torch.tensor(gradient)
        optimizer.step()
        seen.append(weights.detach().numpy().copy())
    return np.array(seen)


def weights_of(shape=(2, 3)):
    return torch.nn.Parameter(torch.tensor(np.random.default_rng(1).normal(size=shape)))


def test_lion_is_algorithm_2_of_its_paper():
    """Chen et al. 2023: c = b1 m + (1 - b1) g; w -= lr (sign(c) + decay w); m = b2 m + (1 - b2) g."""
    weights, given = weights_of(), gradients(8)
    lr, beta1, beta2, decay = 0.1, 0.8, 0.95, 0.3
    w, m, expected = weights.detach().numpy().copy(), np.zeros((2, 3)), []
    for g in given:
        w = w - lr * (np.sign(beta1 * m + (1 - beta1) * g) + decay * w)
        m = beta2 * m + (1 - beta2) * g
        expected.append(w)
    settings = {"beta1": beta1, "beta2": beta2}
    config = trial(optimizer="lion", learning_rate=lr, weight_decay=decay, optimizer_settings=settings)
    np.testing.assert_allclose(moved(build_optimizer([weights], config), weights, given), expected, rtol=1e-12)


def test_adafactor_is_its_papers_algorithm_with_a_relative_step():
    """Shazeer & Stern 2018, algorithms 4 and 5: row and column means of g^2, the update clipped by its RMS."""
    weights, given = weights_of(), gradients(8)
    lr, power, most = 0.1, -0.6, 1.0
    w, rows, columns, expected = weights.detach().numpy().copy(), np.zeros((2, 1)), np.zeros((1, 3)), []

    def root_mean_square(x):
        return math.sqrt((x**2).mean())

    for t, g in enumerate(given, start=1):
        keep = 1 - t**power
        rows = keep * rows + (1 - keep) * (g**2).mean(axis=1, keepdims=True)
        columns = keep * columns + (1 - keep) * (g**2).mean(axis=0, keepdims=True)
        u = g / np.sqrt(rows * columns / rows.mean())
        alpha = max(1e-3, root_mean_square(w)) * min(lr, 1 / math.sqrt(t))
        w = w - alpha * u / max(1.0, root_mean_square(u) / most)
        expected.append(w)
    settings = {"beta2_decay": power, "clip_threshold": most}
    config = trial(optimizer="adafactor", learning_rate=lr, optimizer_settings=settings)
    np.testing.assert_allclose(moved(build_optimizer([weights], config), weights, given), expected, rtol=1e-10)


def test_sophia_is_algorithm_3_of_its_paper():
    """Liu et al. 2023: every k steps h = b2 h + (1 - b2) B g'^2; w -= lr clip(m / max(gamma h, eps), 1)."""
    weights, given, own = weights_of(), gradients(11), 0.3 * gradients(20)[11:]
    lr, beta1, beta2, gamma, every, tokens, decay = 0.1, 0.8, 0.6, 2.0, 4, 7, 0.2
    w, m, h, expected = weights.detach().numpy().copy(), np.zeros((2, 3)), np.zeros((2, 3)), []
    for t, g in enumerate(given, start=1):
        m = beta1 * m + (1 - beta1) * g
        if t % every == 1:
            h = beta2 * h + (1 - beta2) * tokens * own[t // every] ** 2
        w = w - lr * decay * w
        w = w - lr * np.clip(m / np.maximum(gamma * h, 1e-12), -1, 1)
        expected.append(w)
    settings = {"beta1": beta1, "beta2": beta2, "gamma": gamma, "hessian_every": every}
    config = trial(optimizer="sophia", learning_rate=lr, weight_decay=decay, optimizer_settings=settings)
    optimizer = build_optimizer([weights], config)
    assert isinstance(optimizer, Sophia)

    def before_step(step):
        assert is_due(optimizer, step) == (step in (1, 5, 9))
        if is_due(optimizer, step):
            weights.grad = torch.tensor(own[step // every])
            optimizer.estimate_curvature(tokens)

    found = moved(optimizer, weights, given, before_step)
    assert set(optimizer.state[weights]) == {"momentum", "hessian_moment"}, "an estimate is not kept"
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    steps = np.abs(np.diff(found, axis=0) + lr * decay * found[:-1])
    assert (steps < lr * 0.99).any(), "the check would be one of signs"


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


def test_the_cosine_schedule_falls_along_half_a_wave_and_never_reaches_zero():
    rates = [learning_rate_at(step, trial(schedule="cosine"), 6) for step in range(1, 7)]
    root = math.sqrt(3) / 2
    assert rates == pytest.approx([0.5 * (1 + x) / 2 for x in (1, root, 0.5, 0, -0.5, -root)])
    assert rates[-1] > 0
    warm = [learning_rate_at(step, trial(schedule="cosine", warmup_steps=2), 6) for step in range(1, 7)]
    assert warm == pytest.approx([rates[0] / 2, *rates[1:]])


def test_the_inverse_square_root_schedule_peaks_where_the_warm_up_ends_and_needs_no_horizon():
    rates = [learning_rate_at(step, trial(schedule="inverse_sqrt", warmup_steps=4), None) for step in (1, 2, 4, 9, 16)]
    assert rates == pytest.approx([0.125, 0.25, 0.5, 0.5 * 2 / 3, 0.25])
    plain = [learning_rate_at(step, trial(schedule="inverse_sqrt"), None) for step in (1, 4, 100)]
    assert plain == pytest.approx([0.5, 0.25, 0.05])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_looks_at_the_horizon_if_and_only_if_it_says_so(schedule):
    rates = {learning_rate_at(3, trial(schedule=schedule, warmup_steps=2), horizon) for horizon in (4, 9)}
    assert (len(rates) > 1) == (SCHEDULES[schedule].horizon is Horizon.FIXED)
