"""The models of a sweep by name: what the driver and the workers say of them to each other. It loads no PyTorch."""

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
    """What a model knows of a forget set before any unlearning."""

    model: str
    forget_set: str
    metrics: Mapping[str, Any]
    """By column of the baselines table."""
