"""The records about a sweep's models that driver and workers exchange, and who trains them. It loads no PyTorch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.spec import SweepSpec
from trainables.data import ForgetSet

BASE = "base"
ONE_AFTER_ANOTHER_FLOPS = 1e11
"""Floating-point operations below which all models are trained by one worker: another would take longer to import
PyTorch, and a group of several to start."""


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


def trains_in_groups(spec: SweepSpec, flops: float | None) -> bool:
    """Return whether base and reference models are trained by groups of workers, as trials are run.

    Args:
        spec: the spec of the sweep.
        flops: see ``are_small``.
    """
    return spec.resources.workers_per_trial > 1 and spec.preparation.epochs > 0 and not are_small(flops)


def are_small(flops: float | None) -> bool:
    """Return whether models are too small to be trained side by side, or together by several workers.

    Args:
        flops: floating-point operations of training those of one replicate; None: not known.
    """
    return flops is not None and flops < ONE_AFTER_ANOTHER_FLOPS
