"""How a model is distributed over the workers of a trial, through Accelerate: replicated (DDP) or sharded (FSDP2).

A sharded tensor is a ``DTensor``: it has the full shape, and each process holds a part of it.
"""

from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState, is_initialized
from accelerate.utils import (
    DistributedType,
    FullyShardedDataParallelPlugin,
    GradientAccumulationPlugin,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from trainables.config import Parallelism, Precision
from trainables.errors import UnlearningError

_MIXED_PRECISION = {"fp32": "no", "bf16": "bf16"}


def build_accelerator(precision: Precision, parallelism: Parallelism, *, use_gpu: bool) -> Accelerator:
    """Set up Accelerate: precision, parallelism and device hold for the whole process.

    A process that works alone may first train models in fp32 and then run trials in bf16: what was set up before is
    forgotten. So is the precision of an accelerator that it made before, which is not to be used again.
    """
    if not dist.is_initialized():
        if is_initialized() and AcceleratorState().mixed_precision != _MIXED_PRECISION[precision]:
            AcceleratorState._reset_state()
        return Accelerator(mixed_precision=_MIXED_PRECISION[precision], cpu=not use_gpu)
    sharding = _sharding_plugin(precision) if parallelism == "fsdp" else None
    accelerator = Accelerator(
        mixed_precision=_MIXED_PRECISION[precision],
        cpu=dist.get_backend() == "gloo",
        fsdp_plugin=sharding,
        # gradients that are not yet synchronized have full size on every worker, too large for a sharded model
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1, sync_each_batch=sharding is not None),
    )
    if sharding is not None:
        if accelerator.distributed_type is DistributedType.MULTI_CPU:
            # Accelerate shards on GPUs only. PyTorch can on CPUs too, so that sharding is tested without a GPU.
            for state in (PartialState(), accelerator.state):  # the second copies from the first
                state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = sharding  # one made before for another model names the layers of that model
    return accelerator


def _sharding_plugin(precision: Precision) -> FullyShardedDataParallelPlugin:
    """Return the plugin that shards layer by layer. With bf16, the workers' gradients are still added in fp32."""
    bf16 = {"param_dtype": torch.bfloat16, "reduce_dtype": torch.float32, "output_dtype": torch.bfloat16}
    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        reshard_after_forward=True,
        cpu_ram_efficient_loading=False,
        mixed_precision_policy=bf16 if precision == "bf16" else None,
    )


def share_model(accelerator: Accelerator, model: Any) -> Any:
    """Prepare a model, on this process's device, to be trained together with the other workers.

    Raises:
        UnlearningError: the model cannot be sharded.
    """
    if not accelerator.is_fsdp2:
        return accelerator.prepare_model(model)
    kind, names = type(model).__name__, _parameter_names(model)
    # Accelerate shards a model only together with an optimizer; each trial makes its own optimizer later
    model, _ = accelerator.prepare(model, torch.optim.SGD(model.parameters()))
    if apart := _parameter_names(model) - names:
        raise UnlearningError(
            f"resources.parallelism: fsdp, and parts of this {kind} share weights that PyTorch would shard apart "
            f"({', '.join(sorted(apart))}); set ddp"
        )
    return model


def _parameter_names(model: Any) -> set[str]:
    """Return the names of a model's parameters; of one that has several, the first."""
    return {name for name, _ in model.named_parameters()}


def unwrap_model(model: Any) -> Any:
    """Return the model inside a DDP wrapper; other models, sharded ones too, are returned as they are."""
    return getattr(model, "module", model)


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Gather a sharded tensor. All workers must call this, and each gets the full tensor."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def sharded_like(tensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Shard a tensor, which every worker has in full, like ``other``; return it as it is if that is not sharded."""
    if not isinstance(other, DTensor):
        return tensor
    return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements, src_data_rank=None)
