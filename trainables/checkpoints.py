"""A trajectory's checkpoint as one safetensors payload: weights, optimizer state and progress. No pickle."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import safetensors.torch
import torch

from trainables.models import named_tensors


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a trajectory has come. Batches, learning rates and dropout are functions of the step."""

    step: int
    tokens_seen: int
    elapsed_s: float


class CheckpointStore(Protocol):
    """Where checkpoints go: at most one a trial, replaced atomically."""

    def save_checkpoint(self, trial_id: str, payload: bytes) -> None:
        """Replace the trial's checkpoint."""

    def load_checkpoint(self, trial_id: str) -> bytes | None:
        """Read the trial's checkpoint, if there is one."""

    def discard_checkpoint(self, trial_id: str) -> None:
        """Forget the trial's checkpoint, if there is one."""


def pack(model: Any, optimizer: torch.optim.Optimizer, progress: Progress) -> bytes:
    """Serialise everything that the rest of the trajectory depends on."""
    state = optimizer.state_dict()["state"]
    tensors = {f"model.{name}": tensor.detach() for name, tensor in named_tensors(model).items()}
    scalars: dict[str, Any] = {}
    for index, entries in state.items():
        for key, value in entries.items():
            name = f"optimizer.{index}.{key}"
            if isinstance(value, torch.Tensor):
                tensors[name] = value
            else:
                scalars[name] = value
    metadata = {"progress": json.dumps(asdict(progress)), "optimizer_scalars": json.dumps(scalars)}
    return safetensors.torch.save({name: t.contiguous().cpu() for name, t in tensors.items()}, metadata=metadata)


def unpack(payload: bytes, model: Any, optimizer: torch.optim.Optimizer) -> Progress:
    """Restore model and optimizer in place, exactly as they were packed."""
    metadata = _metadata(payload)
    tensors: dict[str, Any] = dict(safetensors.torch.load(payload))
    with torch.no_grad():
        for name, tensor in named_tensors(model).items():
            tensor.copy_(tensors.pop(f"model.{name}"))
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **json.loads(metadata["optimizer_scalars"])}.items():
        _, index, key = name.split(".", 2)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return Progress(**json.loads(metadata["progress"]))


def _metadata(payload: bytes) -> dict[str, str]:
    """Read the header's metadata: 8 bytes of little-endian length, then JSON (the safetensors format)."""
    length = int.from_bytes(payload[:8], "little")
    metadata: dict[str, str] = json.loads(payload[8 : 8 + length])["__metadata__"]
    return metadata
