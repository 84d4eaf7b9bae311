"""Objectives against slow computation, their gradients, and the registry's refusals."""

import math

import pytest
import torch

from tests.support import tiny_encoded, tiny_model
from trainables import objectives
from trainables.batching import collate
from trainables.errors import UnlearningError
from trainables.likelihood import score_batch
from trainables.objectives import OBJECTIVES, Objective, check_objective, compute, register


@pytest.fixture
def model():
    return tiny_model()


@pytest.fixture
def forget():
    return tiny_encoded(4, seed=1)


@pytest.fixture
def retain():
    return tiny_encoded(3, seed=2)


def slow_nll(model, encoded):
    """Mean over all target tokens, example by example, in Python floats."""
    total, count = 0.0, 0
    for index in range(len(encoded)):
        tokens = encoded.tokens[encoded.offsets[index] : encoded.offsets[index + 1]].tolist()
        with torch.no_grad():
            rows = model(input_ids=torch.tensor([tokens])).logits[0].tolist()
        for position in range(encoded.target_starts_N[index], len(tokens)):
            row = rows[position - 1]
            total += math.log(sum(math.exp(v) for v in row)) - row[tokens[position]]
            count += 1
    return total / count


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def whole(encoded):
    return collate(encoded, range(len(encoded)))


def test_gradient_ascent_is_minus_the_forget_loss(model, forget):
    loss = compute("gradient_ascent", model, whole(forget))
    assert loss.item() == pytest.approx(-slow_nll(model, forget), rel=1e-5)


def test_the_gradient_of_gradient_ascent_is_minus_that_of_the_nll(model, forget):
    ascent = gradients(model, compute("gradient_ascent", model, whole(forget)))
    descent = gradients(model, score_batch(model, whole(forget)).nll_per_token())
    assert any(g.abs().max() > 1e-3 for g in ascent)
    for left, right in zip(ascent, descent, strict=True):
        assert torch.equal(left, -right)


@pytest.mark.parametrize("weights", [{}, {"retain_weight": 0.5}, {"forget_weight": 2.0, "retain_weight": 3.0}])
def test_gradient_difference_is_the_weighted_difference(model, forget, retain, weights):
    loss = compute("gradient_difference", model, whole(forget), retain_batch=whole(retain), **weights)
    full = {"forget_weight": 1.0, "retain_weight": 1.0, **weights}
    expected = -full["forget_weight"] * slow_nll(model, forget) + full["retain_weight"] * slow_nll(model, retain)
    assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", ["gradient_ascent", "gradient_difference"])
def test_micro_batches_add_up_to_the_step(model, forget, retain, name):
    totals = {
        "forget_targets": int(forget.num_targets_N.sum()),
        "retain_targets": int(retain.num_targets_N.sum()),
    }
    expected = gradients(model, compute(name, model, whole(forget), retain_batch=whole(retain)))
    parts = [
        compute(name, model, collate(forget, f), retain_batch=collate(retain, r), **totals)
        for f, r in (([0], [0, 1]), ([1, 2, 3], [2]))
    ]
    for left, right in zip(gradients(model, sum(parts)), expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-6)


def test_an_unknown_objective_suggests_the_nearest(model, forget):
    with pytest.raises(UnlearningError, match=r"unknown objective 'gradient_asent'; did you mean 'gradient_ascent'\?"):
        compute("gradient_asent", model, whole(forget))


def test_an_unknown_weight_suggests_the_nearest():
    with pytest.raises(UnlearningError, match=r"has no 'retain_wieght'; did you mean 'retain_weight'\?"):
        check_objective("gradient_difference", {"retain_wieght": 1.0})
    with pytest.raises(UnlearningError, match="'gradient_ascent' has no 'retain_weight'; allowed: nothing"):
        check_objective("gradient_ascent", {"retain_weight": 1.0})


def test_a_missing_retain_batch_is_refused(model, forget):
    with pytest.raises(UnlearningError, match="'gradient_difference' needs a retain batch"):
        compute("gradient_difference", model, whole(forget))


def test_a_registered_objective_computes_and_its_name_is_taken(model, forget, monkeypatch):
    monkeypatch.setattr(objectives, "OBJECTIVES", dict(OBJECTIVES))
    mine = Objective(
        loss=lambda inputs, weights: weights["scale"] * inputs.forget_nll(), source="a test", weights={"scale": 2.0}
    )
    register("mine", mine)
    assert compute("mine", model, whole(forget)).item() == pytest.approx(2 * slow_nll(model, forget), rel=1e-5)
    assert compute("mine", model, whole(forget), scale=0.0).item() == 0.0
    with pytest.raises(UnlearningError, match="objective 'mine' is registered already"):
        register("mine", mine)


def test_every_shipped_objective_names_its_source():
    assert all("arXiv" in objective.source for objective in OBJECTIVES.values())
