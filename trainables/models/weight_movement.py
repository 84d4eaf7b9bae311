"""How many weights ascent has changed: in low precision, small updates are silently rounded away."""

from typing import Any

import torch
from torch.distributed.tensor import DTensor

from trainables.config import TrialConfig
from trainables.distributed import WorkerGroup, sharded_like
from trainables.models.adapters import has_adapters
from trainables.models.weights import WeightsSnapshot, named_tensors

_FEW = 0.01
"""Share of changed bf16 weights below which a trial warns: most of its updates were rounded away."""


def moved_share(model: Any, base: WeightsSnapshot, group: WorkerGroup) -> float:
    """Return the share of trained weights, over all workers, that differ from those of the base model.

    Weights that were zero are not counted, since every update changes them; in adapters, which begin as zero, they are.

    Args:
        model: the unwrapped model or this worker's shards of it; not negated.
        base: the model before ascent.
        group: the workers that share the model.
    """
    counts = torch.zeros(2, dtype=torch.float64)
    zeros_count = has_adapters(model)
    with torch.no_grad():
        for name, tensor in named_tensors(model).items():
            if isinstance(tensor, torch.nn.Parameter) and tensor.requires_grad:
                start, now = sharded_like(base.start(name, tensor.dtype), tensor), tensor.detach()
                if isinstance(now, DTensor) and isinstance(start, DTensor):
                    start, now = start.to_local(), now.to_local()
                start = start.to(now.device)
                counted = torch.ones_like(start, dtype=torch.bool) if zeros_count else start != 0
                counts += torch.stack([((now != start) & counted).sum(), counted.sum()]).cpu()
    moved, all_ = group.all_reduce_sum(counts).tolist()
    return float(moved / all_) if all_ else 1.0


def movement_warning(model: Any, base: WeightsSnapshot, config: TrialConfig, group: WorkerGroup) -> str | None:
    """Return a warning that ascent has changed no weight, or hardly any bf16 weight; None: it has changed enough."""
    share = moved_share(model, base, group)
    coarse = any(p.dtype is torch.bfloat16 for p in model.parameters() if p.requires_grad)
    if share > 0 and not (coarse and share < _FEW):
        return None
    moved = "none of the weights" if share == 0 else f"only {share:.2g} of all weights"
    rate = f"a larger learning_rate (now {config.learning_rate:g})"
    if not coarse:
        return f"{moved} moved: either every update is rounded away, or the gradient is zero; give {rate}"
    return (
        f"{moved} moved: bf16 rounds smaller updates away; set model.dtype: fp32 with model.precision: bf16 (fp32 "
        f"weights, computing in bf16), or give {rate}"
    )
