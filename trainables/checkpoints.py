"""The checkpoint of a trajectory, or of a model in training: weights, optimizer, progress in one safetensors payload.

With a checksum; no pickle.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import safetensors.torch
import torch

from trainables.models import named_tensors

_UNSIGNED = "0" * 64
"""Stands for the checksum while it is computed."""


class DamagedCheckpointError(Exception):
    """The payload is not what was packed: truncated, changed, or not a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far it has come. Batches, learning rates and dropout are functions of the step."""

    step: int
    tokens_seen: int = 0
    elapsed_s: float = 0.0


class CheckpointStore(Protocol):
    """Where checkpoints go: at most one a trial, or a model in training, replaced atomically."""

    def save_checkpoint(self, key: str, payload: bytes, /) -> None:
        """Replace its checkpoint."""

    def load_checkpoint(self, key: str, /) -> bytes | None:
        """Read its checkpoint, if there is one."""

    def discard_checkpoint(self, key: str, /) -> None:
        """Forget its checkpoint, if there is one."""


def pack(model: Any, optimizer: torch.optim.Optimizer, progress: Progress) -> bytes:
    """Serialise everything that the rest of the way depends on, with the SHA-256 of every byte."""
    tensors, scalars = _state(model, optimizer)
    metadata = {
        "progress": json.dumps(asdict(progress)),
        "optimizer_scalars": json.dumps(scalars),
        "sha256": _UNSIGNED,
    }
    payload = safetensors.torch.save({name: t.contiguous().cpu() for name, t in tensors.items()}, metadata=metadata)
    return payload.replace(_UNSIGNED.encode(), hashlib.sha256(payload).hexdigest().encode(), 1)


def state_bytes(model: Any, optimizer: torch.optim.Optimizer) -> int:
    """Give how large a checkpoint would be, but for its header."""
    tensors, _ = _state(model, optimizer)
    return sum(tensor.nbytes for tensor in tensors.values())


def _state(model: Any, optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Collect the tensors and the plain values of model and optimizer, by name."""
    tensors = {f"model.{name}": tensor.detach() for name, tensor in named_tensors(model).items()}
    scalars: dict[str, Any] = {}
    for index, entries in optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            else:
                scalars[f"optimizer.{index}.{key}"] = value
    return tensors, scalars


def unpack(payload: bytes, model: Any, optimizer: torch.optim.Optimizer) -> Progress:
    """Restore model and optimizer in place, exactly as they were packed.

    Raises:
        DamagedCheckpointError: the payload is not what was packed; model and optimizer are untouched.
    """
    metadata = _checked_metadata(payload)
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


def _checked_metadata(payload: bytes) -> dict[str, str]:
    """Read the header's metadata: 8 bytes of little-endian length, then JSON (the safetensors format)."""
    try:
        length = int.from_bytes(payload[:8], "little")
        metadata: dict[str, str] = json.loads(payload[8 : 8 + length])["__metadata__"]
        signature = metadata["sha256"].encode()
        start = payload.index(signature)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedCheckpointError(f"its header cannot be read ({error!r})") from None
    digest = hashlib.sha256(memoryview(payload)[:start])
    digest.update(_UNSIGNED.encode())
    digest.update(memoryview(payload)[start + len(signature) :])
    if digest.hexdigest().encode() != signature:
        raise DamagedCheckpointError("its checksum is wrong")
    return metadata
