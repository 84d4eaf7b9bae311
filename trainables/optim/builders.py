"""Functions that build each optimizer from parameters, a learning rate and its settings. ``optimizers`` names them."""

import torch
from pytorch_optimizer import SOAP, Lion

from trainables.optim.optimizers import Parameters
from trainables.optim.settings import (
    AdafactorSettings,
    AdamWSettings,
    LionSettings,
    SGDSettings,
    SOAPSettings,
    SophiaSettings,
)
from trainables.optim.sophia import Sophia


def sgd(parameters: Parameters, learning_rate: float, settings: SGDSettings) -> torch.optim.Optimizer:
    """Build stochastic gradient descent."""
    return torch.optim.SGD(parameters, lr=learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay)


def adamw(parameters: Parameters, learning_rate: float, settings: AdamWSettings) -> torch.optim.Optimizer:
    """Build AdamW."""
    return torch.optim.AdamW(
        parameters,
        lr=learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        weight_decay=settings.weight_decay,
    )


def adafactor(parameters: Parameters, learning_rate: float, settings: AdafactorSettings) -> torch.optim.Optimizer:
    """Build Adafactor."""
    return torch.optim.Adafactor(
        parameters,
        lr=learning_rate,
        beta2_decay=settings.beta2_decay,
        d=settings.clip_threshold,
        weight_decay=settings.weight_decay,
    )


def lion(parameters: Parameters, learning_rate: float, settings: LionSettings) -> torch.optim.Optimizer:
    """Build Lion."""
    return Lion(
        parameters, lr=learning_rate, betas=(settings.beta1, settings.beta2), weight_decay=settings.weight_decay
    )


def soap(parameters: Parameters, learning_rate: float, settings: SOAPSettings) -> torch.optim.Optimizer:
    """Build SOAP."""
    return SOAP(
        parameters,
        lr=learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        precondition_frequency=settings.precondition_every,
        weight_decay=settings.weight_decay,
    )


def sophia(parameters: Parameters, learning_rate: float, settings: SophiaSettings) -> torch.optim.Optimizer:
    """Build Sophia."""
    return Sophia(parameters, learning_rate, settings)
