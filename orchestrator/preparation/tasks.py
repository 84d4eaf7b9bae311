"""The records about a sweep's models that the driver and the workers exchange. It loads no PyTorch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainables.data import ForgetSet

BASE = "base"


@dataclass(frozen=True, kw_only=True)
class ModelTask:
    """One model to train: its role (``base``, ``reference-0``, ...) in a replicate, its seed and its cache key."""

    role: str
    seed: int
    key: str
    replicate: int = 0

    @property
    def name(self) -> str:
        """What it is, for people."""
        return f"{self.role} of replicate {self.replicate}" if self.replicate else self.role


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The metrics of a model on a forget set before any unlearning."""

    model: str
    forget_set: str
    metrics: Mapping[str, Any]
    """By column of the baselines table."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What base and reference models tell of a replicate's data before any unlearning."""

    baselines: Sequence[Baseline]
    buckets: Mapping[str, ForgetSet] = field(default_factory=dict)
    """The buckets of forget sets by name, with the examples that they have in this replicate."""
