"""Gradient ascent with a weight for each token: p is the probability that the model gives it, without gradient.

Papers are in ``registry``. Every loss is a scalar with gradient, nats per token. Shape legend: B batch, T tokens.
"""

import torch

from trainables.metrics import TokenScores, token_scores
from trainables.objectives.inputs import ObjectiveInputs
from trainables.objectives.settings import SatImpSettings, WGASettings


def wga(inputs: ObjectiveInputs, settings: WGASettings) -> torch.Tensor:
    """Return the mean of p^beta * log p over forget targets."""
    scores = token_scores(inputs.predict_forget())
    return _weighted(inputs, scores, _probabilities(scores) ** settings.beta)


def satimp(inputs: ObjectiveInputs, settings: SatImpSettings) -> torch.Tensor:
    """Return the mean of p^beta1 * (1 - p)^beta2 * log p over forget targets."""
    scores = token_scores(inputs.predict_forget())
    p_BT = _probabilities(scores)
    return _weighted(inputs, scores, p_BT**settings.beta1 * (1 - p_BT) ** settings.beta2)


def _probabilities(scores: TokenScores) -> torch.Tensor:
    return scores.logp_BT.detach().exp()


def _weighted(inputs: ObjectiveInputs, scores: TokenScores, weights_BT: torch.Tensor) -> torch.Tensor:
    return inputs.forget_mean(weights_BT * scores.logp_BT, scores.is_target_BT)
