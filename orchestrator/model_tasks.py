"""The models of a sweep by name: what the driver and the workers say of them to each other. It loads no PyTorch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainables.examples import Example
from trainables.forget_sets import Datasets

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


def examples_of(datasets: Datasets, role: str) -> Sequence[Example]:
    """Return what the model of a role is trained on."""
    return datasets.base_training() if role == BASE else datasets.reference_training()
