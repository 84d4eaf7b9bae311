"""The settings of every objective, with their defaults: one small configuration class an objective.

In a trial they are ``TrialConfig.objective_settings``; in a search space all are plain names. It loads no PyTorch.

Where codebases compute a loss differently, the difference is a setting: ``reduction``, ``kl_positions``, ``length`` and
``retain_loss``.
"""

from typing import Annotated, Literal

from pydantic import Field

from trainables.config import Config
from trainables.metrics import Reduction

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
KLPositions = Literal["target", "all"]
Length = Literal["sum", "mean"]


class ObjectiveSettings(Config):
    """Settings that every objective has."""

    reduction: Reduction = "token"
    """A mean over all target tokens of a step (``token``), or over its examples, each by the mean of its tokens
    (``sequence``)."""

    @property
    def retains(self) -> bool:
        """Whether there is a retain term beside the objective's own term."""
        return False

    @property
    def retains_by_kl(self) -> bool:
        """Whether the retain term compares with the base model."""
        return False


class KLRetainSettings(ObjectiveSettings):
    """Settings of an objective whose retain term is KL(base model || model).

    The loss is forget_weight * its own term + retain_weight * KL.
    """

    forget_weight: Finite = 1.0
    """Factor of the objective's own term."""
    retain_weight: Finite = 1.0
    """Factor of the retain term; 0: there is none, and no retained example is used."""
    kl_positions: KLPositions = "target"
    """The positions that KL is averaged over: target tokens, or prompts too. Padding never counts (but for
    ``compat``)."""

    @property
    def retains(self) -> bool:
        """Whether there is a retain term beside the objective's own term."""
        return self.retain_weight != 0

    @property
    def retains_by_kl(self) -> bool:
        """Whether the retain term compares with the base model."""
        return self.retains


class RetainSettings(KLRetainSettings):
    """Settings of an objective with a retain term of either kind.

    The loss is forget_weight * its own term + retain_weight * the term that ``retain_loss`` names.
    """

    retain_loss: Literal["nll", "kl"] = "nll"
    """The retain term: NLL of the retained examples, or KL(base model || model) on them; nats per position."""

    @property
    def retains_by_kl(self) -> bool:
        """Whether the retain term compares with the base model."""
        return self.retains and self.retain_loss == "kl"


class BoundedAscentSettings(ObjectiveSettings):
    """Settings of ``bounded_ascent``."""

    bound: Positive = 5.0
    """NLL up to which a target token is pushed, nats."""


class TaskVectorSettings(ObjectiveSettings):
    """Settings of ``task_vector``: what is trained is subtracted from the base model wherever the model is used."""

    scale: Finite = 1.0
    """How many times what was learned is subtracted from the base model."""


class UndialSettings(RetainSettings):
    """Settings of ``undial``."""

    beta: Finite = 10.0
    """How much lower the token to forget stands in the teacher's logits."""
    retain_weight: Finite = 0.0
    """Factor of the retain term; 0: there is none, and no retained example is used."""


class CEUSettings(RetainSettings):
    """Settings of ``ceu``."""

    ignore_first: Annotated[int, Field(ge=0)] = 1
    """Target tokens at the beginning of each example that are left alone."""
    retain_weight: Finite = 0.0
    """Factor of the retain term; 0: there is none, and no retained example is used."""


class NPOSettings(RetainSettings):
    """Settings of ``npo`` and ``dpo``."""

    beta: Positive = 0.1
    """How soon the sigmoid levels off, per nat."""
    length: Length = "sum"
    """Whether the log-likelihood of an example is the sum over its tokens, or their mean."""


class SimNPOSettings(RetainSettings):
    """Settings of ``simnpo``."""

    beta: Positive = 4.5
    """How soon the sigmoid levels off, per nat per token."""
    delta: Finite = 0.0
    """Margin that is subtracted from the mean NLL, nats per token."""


class WGASettings(RetainSettings):
    """Settings of ``wga``."""

    beta: Finite = 1.0
    """Exponent of a token's probability in its weight."""


class SatImpSettings(RetainSettings):
    """Settings of ``satimp``."""

    beta1: Finite = 5.0
    """Exponent of a token's probability p in its weight."""
    beta2: Finite = 1.0
    """Exponent of 1 - p in its weight."""
