"""How the workers of a trial share its model, through Accelerate: whole on each (DDP) or cut into shards (FSDP2).

A shard is a ``DTensor``: a tensor of the whole shape of which each process holds a part.
"""

from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator, PartialState
from accelerate.utils import (
    DistributedType,
    FullyShardedDataParallelPlugin,
    GradientAccumulationPlugin,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from trainables.config import Parallelism, Precision

_MIXED_PRECISION = {"fp32": "no", "bf16": "bf16"}


def build_accelerator(precision: Precision, parallelism: Parallelism, *, use_gpu: bool) -> Accelerator:
    """Set Accelerate up for this process, once: precision, parallelism and device are those of the whole process."""
    if not dist.is_initialized():
        return Accelerator(mixed_precision=_MIXED_PRECISION[precision], cpu=not use_gpu)
    sharding = _sharding(precision) if parallelism == "fsdp" else None
    accelerator = Accelerator(
        mixed_precision=_MIXED_PRECISION[precision],
        cpu=dist.get_backend() == "gloo",
        fsdp_plugin=sharding,
        # gradients that wait for the last micro-batch are whole on every worker: more than a sharded model may have
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1, sync_each_batch=sharding is not None),
    )
    if sharding is not None and accelerator.distributed_type is DistributedType.MULTI_CPU:
        # Accelerate shards on GPUs only; PyTorch does on CPUs too, and so what runs on GPUs is tested without one
        for state in (PartialState(), accelerator.state):  # the second is refreshed from the first
            state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = sharding
    return accelerator


def _sharding(precision: Precision) -> FullyShardedDataParallelPlugin:
    """Shard layer by layer; with bf16, the gradients of the workers are still added in fp32."""
    bf16 = {"param_dtype": torch.bfloat16, "reduce_dtype": torch.float32, "output_dtype": torch.bfloat16}
    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        reshard_after_forward=True,
        cpu_ram_efficient_loading=False,
        mixed_precision_policy=bf16 if precision == "bf16" else None,
    )


def share_model(accelerator: Accelerator, model: Any) -> Any:
    """Put a model on this process's device, whole or its shards, to be trained together with the other workers."""
    if not accelerator.is_fsdp2:
        return accelerator.prepare_model(model)
    # Accelerate shards a model with an optimizer only; each trial makes its own, over the shards
    model, _ = accelerator.prepare(model, torch.optim.SGD(model.parameters()))
    return model


def unwrap_model(model: Any) -> Any:
    """Give a model without what makes its workers share gradients (DDP); a sharded one is its own."""
    return getattr(model, "module", model)


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Put a tensor together from its shards; every worker takes part and gets all of it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def sharded_like(tensor: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
    """Cut a tensor that every worker has whole as ``model`` is cut, if it is, and keep this worker's shard."""
    if not isinstance(model, DTensor):
        return tensor
    return distribute_tensor(tensor.to(model.device), model.device_mesh, model.placements, src_data_rank=None)
