"""The settings of every optimizer beside its learning rate, with defaults: one small configuration class an optimizer.

``momentum`` and ``weight_decay`` are fields of a ``TrialConfig``; the others are in its ``optimizer_settings``. In a
search space all are plain names. It loads no PyTorch.
"""

from typing import Annotated

from pydantic import Field

from trainables.config import Config, PositiveInt

NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
"""The share of itself that a running mean keeps in a step."""


class SGDSettings(Config):
    """Settings of stochastic gradient descent (Robbins & Monro 1951)."""

    momentum: Decay = 0.0
    """Factor by which the accumulated gradient is kept in a step; 0: none is accumulated."""
    weight_decay: NonNegative = 0.0
    """Times each weight, added to its gradient (L2, not decoupled)."""


class AdamWSettings(Config):
    """Settings of Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101)."""

    beta1: Decay = 0.9
    """Decay of the mean gradient."""
    beta2: Decay = 0.999
    """Decay of the mean squared gradient."""
    eps: Positive = 1e-8
    """Added to the denominator of an update."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay: a step also multiplies each weight by 1 - learning rate * this."""


class AdafactorSettings(Config):
    """Settings of Adafactor (Shazeer & Stern 2018, arXiv 1804.04235).

    Its learning rate is relative to the root mean square of a tensor's weights, which counts as 0.001 at least.
    """

    beta2_decay: Annotated[float, Field(le=0)] = -0.8
    """In each step the mean squared gradient keeps 1 - step^beta2_decay of itself."""
    clip_threshold: Annotated[float, Field(ge=1)] = 1.0
    """Largest root mean square of an update before the learning rate."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay: a step also multiplies each weight by 1 - learning rate * this."""


class LionSettings(Config):
    """Settings of Lion (Chen et al. 2023, arXiv 2302.06675)."""

    beta1: Decay = 0.9
    """Decay of the mean gradient within the update."""
    beta2: Decay = 0.99
    """Decay of the mean gradient that is kept."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay: a step also multiplies each weight by 1 - learning rate * this."""


class SophiaSettings(Config):
    """Settings of Sophia-G, with the paper's defaults (Liu et al. 2023, arXiv 2305.14342).

    The curvature is that of the forget batch's likelihood, whatever the objective: a diagonal Gauss-Newton estimate
    from tokens that are sampled from the model (``curvature``).
    """

    beta1: Decay = 0.965
    """Decay of the mean gradient."""
    beta2: Decay = 0.99
    """Decay of the mean curvature."""
    gamma: Positive = 0.05
    """Factor of the curvature in an update; the larger, the fewer weights move by the whole learning rate."""
    eps: Positive = 1e-12
    """Least denominator of an update."""
    hessian_every: PositiveInt = 10
    """Steps between two estimates of the curvature; each costs another forward and backward pass over the batch."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay: a step also multiplies each weight by 1 - learning rate * this."""


class SOAPSettings(Config):
    """Settings of SOAP (Vyas et al. 2024, arXiv 2409.11321).

    Its first step moves no weight: it computes the eigenbases that the others work in. A matrix of few gradients has
    equal eigenvalues, so that rounding picks their eigenvectors: other micro-batches, or another number of workers,
    lead to another trajectory. With the same ones it is deterministic.
    """

    beta1: Decay = 0.95
    """Decay of the mean gradient."""
    beta2: Decay = 0.95
    """Decay of the mean squared gradient, and of the matrices whose eigenbases are taken."""
    eps: Positive = 1e-8
    """Added to the denominator of an update."""
    precondition_every: PositiveInt = 10
    """Steps between two updates of the eigenbases."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay: a step also multiplies each weight by 1 - learning rate * this."""
