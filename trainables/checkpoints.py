"""The checkpoint of a trajectory, or of a model in training: weights, optimizer, progress in one safetensors payload.

With a checksum; no pickle.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import safetensors.torch
import torch

from trainables.parallel import sharded_like, whole
from trainables.team import ALONE, Team
from trainables.weights import named_tensors

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


def pack(model: Any, optimizer: torch.optim.Optimizer, progress: Progress, team: Team = ALONE) -> bytes:
    """Serialise everything that the rest of the way depends on, with the SHA-256 of every byte.

    It says nothing of how many workers there are. All of them take part; the leader has the payload, the others none.
    """
    state, scalars = _state(model, optimizer)
    tensors = {}
    for name, tensor in state.items():
        complete = whole(tensor)  # one at a time: together they may be more than a worker's device holds
        if team.leads:
            tensors[name] = complete.contiguous().cpu()
    if not team.leads:
        return b""
    metadata = {
        "progress": json.dumps(asdict(progress)),
        "optimizer_scalars": json.dumps(scalars),
        "sha256": _UNSIGNED,
    }
    payload = safetensors.torch.save(tensors, metadata=metadata)
    return payload.replace(_UNSIGNED.encode(), hashlib.sha256(payload).hexdigest().encode(), 1)


def state_bytes(model: Any, optimizer: torch.optim.Optimizer) -> int:
    """Give how large a checkpoint would be, but for its header."""
    tensors, _ = _state(model, optimizer)
    return sum(tensor.nbytes for tensor in tensors.values())


def _state(model: Any, optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Collect the tensors (or shards of them) and the plain values of model and optimizer, by name."""
    tensors = {f"model.{name}": tensor.detach() for name, tensor in named_tensors(model).items()}
    scalars: dict[str, Any] = {}
    for index, entries in optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            else:
                scalars[f"optimizer.{index}.{key}"] = value
    return tensors, scalars


def unpack(payload: bytes, model: Any, optimizer: torch.optim.Optimizer, team: Team = ALONE) -> Progress:
    """Restore model and optimizer in place, exactly as they were packed.

    The leader's payload counts; it is handed out tensor by tensor, and the other workers never hold all of it.

    Raises:
        DamagedCheckpointError: the payload is not what was packed; model and optimizer are untouched.
    """
    contents = _Contents(payload, team)
    with torch.no_grad():
        for name, tensor in named_tensors(model).items():
            tensor.copy_(sharded_like(contents.take(f"model.{name}"), tensor))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    found: dict[str, Any] = json.loads(contents.metadata["optimizer_scalars"])
    for name in contents.left():
        parameter, value = parameters[int(name.split(".")[1])], contents.take(name)
        found[name] = sharded_like(value, parameter) if value.shape == parameter.shape else value
    state: dict[int, dict[str, Any]] = {}
    for name, value in found.items():
        _, index, key = name.split(".", 2)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return Progress(**json.loads(contents.metadata["progress"]))


class _Contents:
    """What a sound payload holds: its metadata in every worker, its tensors in the leader until they are taken."""

    def __init__(self, payload: bytes, team: Team) -> None:
        self._team = team
        self._tensors: dict[str, torch.Tensor] = {}
        self.metadata, self._kinds = team.decide(lambda: self._read(payload))

    def _read(self, payload: bytes) -> tuple[dict[str, str], dict[str, tuple[torch.Size, torch.dtype]]]:
        metadata = _checked_metadata(payload)
        self._tensors = dict(safetensors.torch.load(payload))
        return metadata, {name: (tensor.shape, tensor.dtype) for name, tensor in self._tensors.items()}

    def left(self) -> list[str]:
        """List the tensors that were not taken, in one order for all workers."""
        return list(self._kinds)

    def take(self, name: str) -> torch.Tensor:
        """Give a tensor to all workers, which take the same ones in the same order."""
        shape, dtype = self._kinds.pop(name)
        return self._team.hand_out(self._tensors.pop(name) if self._team.leads else torch.empty(shape, dtype=dtype))


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
