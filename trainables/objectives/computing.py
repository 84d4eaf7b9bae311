"""The entry point: the loss of any objective on a batch."""

from typing import Any

import torch

from trainables.encoding import Batch
from trainables.errors import UnlearningError
from trainables.metrics import StepCounts
from trainables.objectives.inputs import ObjectiveInputs
from trainables.objectives.registry import Objective, Setting, check_objective


def compute(
    name: str,
    model: Any,
    batch: Batch,
    *,
    reference_model: Any = None,
    retain_batch: Batch | None = None,
    alternate_batch: Batch | None = None,
    compat: str | None = None,
    forget_counts: StepCounts | None = None,
    retain_counts: StepCounts | None = None,
    **weights: Setting,
) -> torch.Tensor:
    """Compute the loss (a scalar to minimise) of objective ``name`` on a forget batch.

    Where the objective has a ``retain_weight`` that is not 0 and a retain batch is given, the loss is
    ``forget_weight`` times the objective's own term plus ``retain_weight`` times that of the retain batch.

    Args:
        name: a key of ``OBJECTIVES``.
        model: a causal or encoder-decoder language model.
        batch: ``input_ids``, ``attention_mask``, ``labels`` (-100: not a target), each [B, T]; for an encoder-decoder
            ``labels`` are of the target, the others of the source.
        reference_model: the frozen base model, where the objective, or ``retain_loss: kl``, compares with it.
        retain_batch: the same as ``batch`` for retained examples.
        alternate_batch: the same for the forget examples with other answers, row by row.
        compat: a project of ``COMPATS`` whose reductions are to be given exactly: the batch is averaged by itself.
        forget_counts: of the whole step, where ``batch`` is a part of it. ``compat`` does not look at it.
        retain_counts: the same for ``retain_batch``.
        **weights: the objective's own settings; defaults stand in the registry.

    Raises:
        UnlearningError: unknown objective, setting or project, a value that is not allowed, or something is missing.
    """
    objective = check_objective(name, weights, compat=compat)
    inputs = ObjectiveInputs(
        model=model,
        forget=batch,
        reference=reference_model,
        retain=retain_batch,
        alternate=alternate_batch,
        settings=objective.settings(weights),
        compat=compat,
        forget_counts=forget_counts if compat is None else None,
        retain_counts=retain_counts if compat is None else None,
    )
    retains = objective.retains(weights)
    _check_given(name, objective, inputs, retains)
    loss: torch.Tensor = inputs.settings.get("forget_weight", 1.0) * objective.loss(inputs, inputs.settings)
    if retains and retain_batch is not None:
        loss = loss + inputs.settings["retain_weight"] * inputs.retain_loss()
    return loss


def _check_given(name: str, objective: Objective, inputs: ObjectiveInputs, retains: bool) -> None:
    if objective.needs_retain and retains and inputs.retain is None:
        raise UnlearningError(f"objective '{name}' needs a retain batch; pass retain_batch")
    if objective.needs_alternate and inputs.alternate is None:
        raise UnlearningError(
            f"objective '{name}' needs the forget examples with alternate answers; pass alternate_batch"
        )
    if inputs.reference is not None:
        return
    if objective.needs_reference:
        raise UnlearningError(f"objective '{name}' needs the frozen base model; pass reference_model")
    if retains and inputs.retain is not None and inputs.settings["retain_loss"] == "kl":
        raise UnlearningError(
            f"objective '{name}' with the retain loss 'kl' needs the frozen base model; pass reference_model"
        )
