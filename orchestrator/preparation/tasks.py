"""The records about a sweep's models that the driver and the workers exchange. It loads no PyTorch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BASE = "base"


@dataclass(frozen=True, kw_only=True)
class ModelTask:
    """One model to train: its role (``base``, ``reference-0``, ...), its seed and its cache key."""

    role: str
    seed: int
    key: str


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The metrics of a model on a forget set before any unlearning."""

    model: str
    forget_set: str
    metrics: Mapping[str, Any]
    """By column of the baselines table."""
