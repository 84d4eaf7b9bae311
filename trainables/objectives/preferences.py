"""Objectives that prefer one answer over another, bounded by a sigmoid. Papers and equations are in ``registry``.

S(x) is the NLL of an example's target in nats, summed over its tokens; S_ref that of the base model. Every loss is a
scalar with gradient. Shape legend: B batch.
"""

import torch
import torch.nn.functional as F

from trainables.encoding import Batch
from trainables.metrics import Predictions, TokenScores, predict, token_scores
from trainables.objectives.inputs import ObjectiveInputs
from trainables.objectives.settings import NPOSettings, SimNPOSettings


def npo(inputs: ObjectiveInputs, settings: NPOSettings) -> torch.Tensor:
    """Return the mean of -(2 / beta) log sigmoid(beta * (S - S_ref))."""
    current = inputs.predict_forget()
    return _preference(_surprise(inputs, inputs.forget, current, settings), inputs, current, beta=settings.beta)


def simnpo(inputs: ObjectiveInputs, settings: SimNPOSettings) -> torch.Tensor:
    """Return the mean of -(2 / beta) log sigmoid(beta * (S / n - delta)), n the tokens of the example."""
    current = inputs.predict_forget()
    scores = token_scores(current)
    # open-unlearning also counts a target that nothing predicts
    lengths_B = scores.num_targets_B + (current.num_unpredicted_B if inputs.compat is not None else 0)
    margin_B = -scores.logp_B / lengths_B.clamp(min=1) - settings.delta
    return _preference(margin_B, inputs, current, beta=settings.beta)


def dpo(inputs: ObjectiveInputs, settings: NPOSettings) -> torch.Tensor:
    """Return the mean of -(2 / beta) log sigmoid(beta * ((S_f - S_f,ref) - (S_a - S_a,ref))), a the alternate."""
    assert inputs.alternate is not None
    current = inputs.predict_forget()
    alternate = predict(inputs.model, inputs.alternate)
    margin_B = _surprise(inputs, inputs.forget, current, settings)
    margin_B = margin_B - _surprise(inputs, inputs.alternate, alternate, settings)
    return _preference(margin_B, inputs, current, beta=settings.beta)


def _surprise(inputs: ObjectiveInputs, batch: Batch, current: Predictions, settings: NPOSettings) -> torch.Tensor:
    """Return how much less likely each example is than under the base model: S - S_ref in nats, [B]."""
    is_mean = settings.length == "mean" and inputs.compat is None
    ours_B, theirs_B = (_nll(token_scores(p), is_mean=is_mean) for p in (current, inputs.predict_base(batch)))
    return ours_B - theirs_B


def _nll(scores: TokenScores, *, is_mean: bool) -> torch.Tensor:
    return -scores.logp_B / scores.num_targets_B.clamp(min=1) if is_mean else -scores.logp_B


def _preference(margin_B: torch.Tensor, inputs: ObjectiveInputs, current: Predictions, *, beta: float) -> torch.Tensor:
    """Return the mean over forget examples of -(2 / beta) log sigmoid(beta * margin), a scalar."""
    return inputs.forget_example_mean(-2 / beta * F.logsigmoid(beta * margin_B), current)
