"""What a step of unlearning minimises: one short function an objective, behind one registry.

To add one: write its loss, register it with its weights' defaults and its source, done. Every loss is a mean over
target tokens (or examples) of the *whole* step, so micro-batches, and later workers, add up to the same gradient.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from trainables.batching import Batch
from trainables.errors import UnlearningError, nearest_name_hint
from trainables.likelihood import score_batch


@dataclass(frozen=True, kw_only=True)
class ObjectiveInputs:
    """What an objective may look at. The totals are those of the whole step; None: those of the batch itself."""

    model: Any
    forget: Batch
    retain: Batch | None = None
    forget_targets: int | None = None
    retain_targets: int | None = None

    def forget_nll(self) -> torch.Tensor:
        """NLL of the forget batch in nats per target token, with gradient."""
        return score_batch(self.model, self.forget).nll_per_token(self.forget_targets)

    def retain_nll(self) -> torch.Tensor:
        """NLL of the retain batch in nats per target token, with gradient."""
        assert self.retain is not None  # compute() has checked it
        return score_batch(self.model, self.retain).nll_per_token(self.retain_targets)


Loss = Callable[[ObjectiveInputs, Mapping[str, float]], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A registered objective: its loss, its weights with their defaults, what it needs, where it comes from."""

    loss: Loss
    source: str
    weights: Mapping[str, float] = field(default_factory=dict)
    needs_retain: bool = False


OBJECTIVES: dict[str, Objective] = {}


def register(name: str, objective: Objective) -> None:
    """Add an objective to the registry.

    Raises:
        UnlearningError: the name is taken.
    """
    if name in OBJECTIVES:
        raise UnlearningError(f"objective '{name}' is registered already; choose another name")
    OBJECTIVES[name] = objective


def check_objective(name: str, weights: Mapping[str, float]) -> Objective:
    """Look an objective up and check the names of its weights.

    Raises:
        UnlearningError: naming what is allowed.
    """
    if name not in OBJECTIVES:
        raise UnlearningError(f"unknown objective '{name}'; {nearest_name_hint(name, OBJECTIVES)}")
    objective = OBJECTIVES[name]
    for weight in weights:
        if weight not in objective.weights:
            raise UnlearningError(
                f"objective '{name}' has no '{weight}'; {nearest_name_hint(weight, objective.weights)}"
            )
    return objective


def compute(
    name: str,
    model: Any,
    batch: Batch,
    *,
    retain_batch: Batch | None = None,
    forget_targets: int | None = None,
    retain_targets: int | None = None,
    **weights: float,
) -> torch.Tensor:
    """Compute the loss (a scalar to minimise) of objective ``name`` on a forget batch.

    Args:
        name: a key of ``OBJECTIVES``.
        model: a causal language model.
        batch: ``input_ids``, ``attention_mask``, ``labels`` (-100: not a target), each [B, T].
        retain_batch: the same for retained examples, where the objective needs them.
        forget_targets: target tokens of the whole step, where ``batch`` is a part of it.
        retain_targets: the same for ``retain_batch``.
        **weights: the objective's own weights; defaults stand in the registry.

    Raises:
        UnlearningError: unknown objective or weight, or a missing retain batch.
    """
    objective = check_objective(name, weights)
    if objective.needs_retain and retain_batch is None:
        raise UnlearningError(f"objective '{name}' needs a retain batch; pass retain_batch")
    inputs = ObjectiveInputs(
        model=model,
        forget=batch,
        retain=retain_batch,
        forget_targets=forget_targets,
        retain_targets=retain_targets,
    )
    return objective.loss(inputs, {**objective.weights, **weights})


def _gradient_ascent(inputs: ObjectiveInputs, _: Mapping[str, float]) -> torch.Tensor:
    return -inputs.forget_nll()


def _gradient_difference(inputs: ObjectiveInputs, weights: Mapping[str, float]) -> torch.Tensor:
    return -weights["forget_weight"] * inputs.forget_nll() + weights["retain_weight"] * inputs.retain_nll()


register(
    "gradient_ascent",
    Objective(loss=_gradient_ascent, source="Jang et al. 2023, arXiv 2210.01504, eq. 1: L = -NLL_forget"),
)
register(
    "gradient_difference",
    Objective(
        loss=_gradient_difference,
        source="Liu et al. 2022, arXiv 2203.12817; Maini et al. 2024, arXiv 2401.06121: L = -NLL_forget + NLL_retain",
        weights={"forget_weight": 1.0, "retain_weight": 1.0},
        needs_retain=True,
    ),
)
