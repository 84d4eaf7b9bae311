"""What each optimizer can be told, beside its learning rate: one small configuration an optimizer.

``momentum`` and ``weight_decay`` are fields of a ``TrialConfig``; the others stand in its ``optimizer_settings``. In a
search space all are plain names.
"""

from typing import Annotated

from pydantic import Field

from trainables.config import Config, PositiveInt

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
"""What a running mean keeps of itself in a step."""


class SGDSettings(Config):
    """Of stochastic gradient descent."""

    momentum: Decay = 0.0
    """Share of the last update that is kept."""
    weight_decay: NonNegative = 0.0
    """Added to the gradient (L2), not decoupled."""


class AdamWSettings(Config):
    """Of Adam with decoupled weight decay."""

    beta1: Decay = 0.9
    """Of the mean gradient."""
    beta2: Decay = 0.999
    """Of the mean squared gradient."""
    eps: Positive = 1e-8
    """Added to the denominator of the update."""
    weight_decay: NonNegative = 0.0
    """Decoupled from the gradient."""


class AdafactorSettings(Config):
    """Of Adafactor. Its learning rate is relative: to the root mean square of a tensor's weights, 0.001 at least."""

    beta2_decay: Annotated[float, Field(le=0)] = -0.8
    """The mean squared gradient keeps 1 - step^beta2_decay of itself."""
    clip_threshold: Annotated[float, Field(ge=1)] = 1.0
    """Largest root mean square of an update before the learning rate."""
    weight_decay: NonNegative = 0.0
    """Decoupled from the gradient."""


class LionSettings(Config):
    """Of Lion."""

    beta1: Decay = 0.9
    """Of the mean gradient within the update."""
    beta2: Decay = 0.99
    """Of the mean gradient that is kept."""
    weight_decay: NonNegative = 0.0
    """Decoupled from the gradient."""


class SophiaSettings(Config):
    """Of Sophia-G, with the paper's defaults.

    The curvature is that of the forget batch's likelihood, whatever the objective: a diagonal Gauss-Newton estimate
    from tokens that the model draws itself (``curvature``).
    """

    beta1: Decay = 0.965
    """Of the mean gradient."""
    beta2: Decay = 0.99
    """Of the mean curvature."""
    gamma: Positive = 0.05
    """Larger: fewer weights move by the whole learning rate."""
    eps: Positive = 1e-12
    """Smallest denominator of the update."""
    hessian_every: PositiveInt = 10
    """Steps between two estimates of the curvature; each costs another forward and backward pass over the batch."""
    weight_decay: NonNegative = 0.0
    """Decoupled from the gradient."""


class SOAPSettings(Config):
    """Of SOAP. Its first step moves no weight: it finds the eigenbases that the others work in.

    A matrix that few gradients went into has equal eigenvalues, and of their eigenvectors rounding picks some: so other
    micro-batches, or another number of workers, give another trajectory. With the same ones it is deterministic.
    """

    beta1: Decay = 0.95
    """Of the mean gradient."""
    beta2: Decay = 0.95
    """Of the mean squared gradient, and of the matrices whose eigenbases are taken."""
    eps: Positive = 1e-8
    """Added to the denominator of the update."""
    precondition_every: PositiveInt = 10
    """Steps between two updates of the eigenbases."""
    weight_decay: NonNegative = 0.0
    """Decoupled from the gradient."""
