"""What Sophia divides by: the estimate is right on average, and no worker or micro-batch changes what is drawn."""

from types import SimpleNamespace

import pytest
import torch

from tests.support import state_of, tiny_encoded, tiny_trial, tiny_workload
from trainables.optim.curvature import drawn_nll
from trainables.optim.settings import SophiaSettings
from trainables.optim.sophia import Sophia
from trainables.trial import DivergedError, Engine

VOCABULARY, WIDTH = 300, 2


class LinearModel(torch.nn.Module):
    """Logits that are linear in the weights: its Gauss-Newton matrix has a closed form."""

    config = SimpleNamespace(is_encoder_decoder=False)

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.register_buffer("embedding", torch.randn(VOCABULARY, WIDTH))
        self.weight = torch.nn.Parameter(torch.randn(VOCABULARY, WIDTH) * 3)

    def forward(self, input_ids, attention_mask):
        return SimpleNamespace(logits=self.embedding[input_ids] @ self.weight.T)


def nll(model, encoded, indices, step, targets):
    return drawn_nll(model, encoded, indices, targets=targets, device="cpu", seed=3, step=step)


def test_the_estimate_is_the_diagonal_of_the_gauss_newton_matrix_on_average():
    """With p the model's distribution after context x, it is the mean over targets of p (1 - p) x^2."""
    model, encoded = LinearModel(), tiny_encoded(3)
    targets = int(encoded.num_targets_N.sum())
    optimizer = Sophia(model.parameters(), 0.1, SophiaSettings(gamma=1.0))
    mean, draws = torch.zeros_like(model.weight), 1500
    for step in range(1, draws + 1):
        nll(model, encoded, range(3), step, targets).backward()
        optimizer.estimate_curvature(targets)
        mean += optimizer._estimate[0] / draws
    exact = torch.zeros_like(mean)
    for i in range(3):
        tokens = torch.from_numpy(encoded.tokens[encoded.offsets[i] : encoded.offsets[i + 1]])
        contexts_TW = model.embedding[tokens[encoded.target_starts_N[i] - 1 : -1]]
        p_TV = (contexts_TW @ model.weight.T).softmax(dim=-1)
        exact += torch.einsum("tv,tw->vw", p_TV * (1 - p_TV), contexts_TW**2).detach() / targets
    large = exact > exact.max() / 20
    assert large.sum() > 5
    torch.testing.assert_close(mean[large], exact[large], rtol=0.35, atol=0)
    assert mean.sum().item() == pytest.approx(exact.sum().item(), rel=0.05)


def test_what_is_drawn_for_an_example_depends_on_the_step_and_not_on_the_company():
    model, encoded = LinearModel(), tiny_encoded(5)
    together = nll(model, encoded, range(5), 1, 10)
    parts = sum(nll(model, encoded, part, 1, 10) for part in ([0], [1, 3], [], [4, 2]))
    torch.testing.assert_close(parts, together)
    assert nll(model, encoded, range(5), 2, 10) != together


def test_a_likely_token_is_drawn_as_often_as_it_is_likely():
    model, encoded = LinearModel(), tiny_encoded(1)
    targets = int(encoded.num_targets_N.sum())
    losses = torch.stack([nll(model, encoded, [0], step, targets) for step in range(1, 400)])
    tokens = torch.from_numpy(encoded.tokens)
    logp_TV = (model.embedding[tokens[encoded.target_starts_N[0] - 1 : -1]] @ model.weight.T).log_softmax(dim=-1)
    entropy = -(logp_TV.exp() * logp_TV).sum(dim=-1).mean()
    assert losses.mean().item() == pytest.approx(entropy.item(), rel=0.1)


def passes(workload, **fields):
    """How often the model runs in each of the first steps, to be trained."""
    engine, seen = Engine(workload), []
    hook = engine.model.register_forward_pre_hook(
        lambda model, _: seen.append(ascent.step + 1) if model.training else None
    )
    ascent = engine.start(tiny_trial(**fields))
    ascent.advance(7)
    hook.remove()
    return [seen.count(step) for step in range(1, 8)]


def test_the_curvature_is_estimated_every_so_many_steps_and_by_sophia_alone():
    workload = tiny_workload()
    every_3 = {"optimizer": "sophia", "optimizer_settings": {"hessian_every": 3}, "learning_rate": 1e-4}
    assert passes(workload, **every_3) == [2, 1, 1, 2, 1, 1, 2]
    assert passes(workload, micro_batch_size=2, **every_3) == [6, 3, 3, 6, 3, 3, 6]
    assert passes(workload, optimizer="adamw") == [1] * 7


def test_a_curvature_that_is_not_finite_ends_the_trial_before_the_weights_move():
    engine = Engine(tiny_workload())
    ascent = engine.start(tiny_trial(optimizer="sophia"))
    hook = engine.model.model.norm.weight.register_hook(lambda gradient: gradient * torch.nan)
    before = state_of(engine.model)
    with pytest.raises(DivergedError, match="step 1: the norm of the curvature's gradient is nan"):
        ascent.advance(1)
    hook.remove()
    assert all((state_of(engine.model)[name] == array).all() for name, array in before.items())
    assert all(parameter.grad is None for parameter in engine.model.parameters())
