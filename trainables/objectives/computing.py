"""The entry point: the loss of any objective on a batch. Shape legend: B batch, T tokens."""

from typing import Any

import torch

from trainables.encoding import Batch
from trainables.errors import UnlearningError
from trainables.metrics import StepCounts
from trainables.objectives.inputs import ObjectiveInputs
from trainables.objectives.objective import Objective, Setting
from trainables.objectives.registry import OBJECTIVES, check_objective
from trainables.objectives.settings import KLRetainSettings, ObjectiveSettings


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
    **settings: Setting,
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
        compat: the project of ``COMPATS`` whose reductions are taken exactly: the batch is averaged by itself.
        forget_counts: counts of the whole step, where ``batch`` is a part of it. ``compat`` ignores them.
        retain_counts: the same for ``retain_batch``.
        **settings: the objective's own settings; those left out have the defaults of its settings class.

    Raises:
        UnlearningError: an unknown objective, setting or project, a value that is not allowed, or a batch or model
            that is missing.
    """
    checked = check_objective(name, settings, compat=compat)
    objective = OBJECTIVES[name]
    inputs = ObjectiveInputs(
        model=model,
        forget=batch,
        base=reference_model,
        retain=retain_batch,
        alternate=alternate_batch,
        reduction=checked.reduction,
        compat=compat,
        forget_counts=forget_counts if compat is None else None,
        retain_counts=retain_counts if compat is None else None,
    )
    _require_inputs(name, objective, inputs, checked)
    loss: torch.Tensor = objective.loss(inputs, checked)
    if isinstance(checked, KLRetainSettings):
        loss = checked.forget_weight * loss
        if checked.retains and inputs.retain is not None:
            kept = inputs.retain_kl(checked.kl_positions) if checked.retains_by_kl else inputs.retain_nll()
            loss = loss + checked.retain_weight * kept
    return loss


def _require_inputs(name: str, objective: Objective, inputs: ObjectiveInputs, settings: ObjectiveSettings) -> None:
    """Raise ``UnlearningError`` where a batch or a model that the objective needs is missing."""
    if objective.needs_retain and settings.retains and inputs.retain is None:
        raise UnlearningError(f"objective '{name}' needs a retain batch; pass retain_batch")
    if objective.needs_alternate and inputs.alternate is None:
        raise UnlearningError(
            f"objective '{name}' needs the forget examples with alternate answers; pass alternate_batch"
        )
    if inputs.base is not None:
        return
    if objective.needs_reference:
        raise UnlearningError(f"objective '{name}' needs the frozen base model; pass reference_model")
    if settings.retains_by_kl and inputs.retain is not None:
        raise UnlearningError(
            f"objective '{name}' with the retain loss 'kl' needs the frozen base model; pass reference_model"
        )
