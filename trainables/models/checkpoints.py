"""Checkpoints of trajectories and of models in training: weights, optimizer and progress in one safetensors payload.

A checkpoint has a checksum, and no pickles.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import safetensors.torch
import torch

from trainables.distributed import ALONE, WorkerGroup, full_tensor, sharded_like
from trainables.models.weights import named_tensors

_NO_CHECKSUM = "0" * 64
"""Placeholder in the header while the checksum is computed."""
_TENSOR = "tensor"
"""Key that marks, in JSON, where a list or dictionary had a tensor; its value is the tensor's name."""


class DamagedCheckpointError(Exception):
    """The payload was truncated or changed since it was packed, or is not a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the training has come. Batches, learning rates and dropout are functions of the step."""

    step: int
    tokens_seen: int = 0
    elapsed_s: float = 0.0
    times: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Where the time went, by name of ``trainables.records.TIMES``."""


def pack(model: Any, optimizer: torch.optim.Optimizer, progress: Progress, group: WorkerGroup = ALONE) -> bytes:
    """Serialize everything that later steps depend on, with a SHA-256 checksum of every byte.

    The payload does not depend on the number of workers. All must call this; the leader gets the payload, the others
    get empty bytes.
    """
    state, values = _state(model, optimizer)
    tensors = {}
    for name, tensor in state.items():
        complete = full_tensor(tensor)  # one at a time: together they may be more than a worker's device holds
        if group.is_leader:
            tensors[name] = complete.contiguous().cpu()
    if not group.is_leader:
        return b""
    metadata = {
        "progress": json.dumps(asdict(progress)),
        "optimizer_scalars": json.dumps(values),
        "optimizer_groups": json.dumps([_group_state(optimizer, group) for group in optimizer.param_groups]),
        "sha256": _NO_CHECKSUM,
    }
    payload = safetensors.torch.save(tensors, metadata=metadata)
    return payload.replace(_NO_CHECKSUM.encode(), hashlib.sha256(payload).hexdigest().encode(), 1)


def state_bytes(model: Any, optimizer: torch.optim.Optimizer) -> int:
    """Return the size of a checkpoint in bytes, without its header."""
    tensors, _ = _state(model, optimizer)
    return sum(tensor.nbytes for tensor in tensors.values())


def _state(model: Any, optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors of model and optimizer (or their shards) and the optimizer's other values, by name."""
    tensors = {f"model.{name}": tensor.detach() for name, tensor in named_tensors(model).items()}
    values: dict[str, Any] = {}
    for index, entries in optimizer.state_dict()["state"].items():
        for key, value in entries.items():
            name = f"optimizer.{index}.{key}"
            plain = _without_tensors(value, name, tensors)
            if not isinstance(value, torch.Tensor):
                values[name] = plain
    return tensors, values


def _without_tensors(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Move tensors from nested lists and dictionaries into ``tensors``; return the value with marks in their place."""
    match value:
        case torch.Tensor():
            tensors[name] = value
            return {_TENSOR: name}
        case list() | tuple():
            return [_without_tensors(inner, f"{name}.{place}", tensors) for place, inner in enumerate(value)]
        case dict():
            return {key: _without_tensors(inner, f"{name}.{key}", tensors) for key, inner in value.items()}
        case _:
            return value


def _with_tensors(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Return the value with its marks replaced by the tensors, which are removed from ``tensors``."""
    match value:
        case list():
            return [_with_tensors(inner, tensors) for inner in value]
        case dict() if _TENSOR in value:
            return tensors.pop(value[_TENSOR])
        case dict():
            return {key: _with_tensors(inner, tensors) for key, inner in value.items()}
        case _:
            return value


def _group_state(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> dict[str, Any]:
    """Return the state that an optimizer keeps in a parameter group, such as a step count, without the settings."""
    return {key: value for key, value in group.items() if key != "params" and key not in optimizer.defaults}


def unpack(payload: bytes, model: Any, optimizer: torch.optim.Optimizer, group: WorkerGroup = ALONE) -> Progress:
    """Restore model and optimizer in place, exactly as they were packed, and return the progress.

    The leader's payload is used. It is broadcast tensor by tensor, so that the other workers never hold all of it.

    Raises:
        DamagedCheckpointError: the payload is damaged or of another model; model and optimizer are unchanged.
    """
    contents = _Contents(payload, group)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    progress = _require_fitting(contents, model, parameters)
    with torch.no_grad():
        for name, tensor in named_tensors(model).items():
            tensor.copy_(sharded_like(contents.take(f"model.{name}"), tensor))
    tensors = {}
    for name in contents.remaining():
        parameter, value = parameters[int(name.split(".")[1])], contents.take(name)
        tensors[name] = sharded_like(value, parameter) if value.shape == parameter.shape else value
    values = _with_tensors(json.loads(contents.metadata["optimizer_scalars"]), tensors)
    state: dict[int, dict[str, Any]] = {}
    for name, value in (values | tensors).items():  # the tensors that are left were in no list or dictionary
        _, index, key = name.split(".", 2)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": _groups(optimizer, contents.metadata)})
    return progress


def _require_fitting(contents: "_Contents", model: Any, parameters: list[Any]) -> Progress:
    """Require, before anything is changed, that the checkpoint fits model and optimizer; return its progress."""
    shapes = {f"model.{name}": tensor.shape for name, tensor in named_tensors(model).items()}
    found = contents.shapes()
    own = {name: shape for name, shape in found.items() if name.startswith("model.")}
    if own != shapes:
        different = sorted(name for name in own.keys() | shapes.keys() if own.get(name) != shapes.get(name))
        raise DamagedCheckpointError(f"it is of another model: {', '.join(different[:3])}")
    for name in found.keys() - own.keys():
        parts = name.split(".")
        if len(parts) < 3 or parts[0] != "optimizer" or not parts[1].isdecimal() or int(parts[1]) >= len(parameters):
            raise DamagedCheckpointError(f"it has '{name}', which no optimizer of this model has")
    try:
        json.loads(contents.metadata["optimizer_scalars"])
        return Progress(**json.loads(contents.metadata["progress"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpointError(f"its header cannot be read ({error!r})") from None


def _groups(optimizer: torch.optim.Optimizer, metadata: dict[str, str]) -> list[dict[str, Any]]:
    """Return the optimizer's parameter groups: its own settings with the packed state."""
    groups = optimizer.state_dict()["param_groups"]
    packed = json.loads(metadata.get("optimizer_groups", "null")) or [
        {} for _ in groups
    ]  # checkpoints of the first version have none
    return [
        {key: value for key, value in group.items() if key == "params" or key in optimizer.defaults} | state
        for group, state in zip(groups, packed, strict=True)
    ]


class _Contents:
    """The contents of an undamaged payload: metadata in every worker; tensors in the leader, until they are taken."""

    def __init__(self, payload: bytes, group: WorkerGroup) -> None:
        self._group = group
        self._tensors: dict[str, torch.Tensor] = {}
        self.metadata, self._kinds = group.broadcast_result(lambda: self._read(payload))

    def _read(self, payload: bytes) -> tuple[dict[str, str], dict[str, tuple[torch.Size, torch.dtype]]]:
        metadata = _checked_metadata(payload)
        try:
            self._tensors = dict(safetensors.torch.load(payload))
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            raise DamagedCheckpointError(f"its tensors cannot be read ({error!r})") from None
        return metadata, {name: (tensor.shape, tensor.dtype) for name, tensor in self._tensors.items()}

    def shapes(self) -> dict[str, torch.Size]:
        """Return the shapes of all tensors, the same in all workers."""
        return {name: shape for name, (shape, _) in self._kinds.items()}

    def remaining(self) -> list[str]:
        """Return the names of the tensors that were not taken, in the same order in all workers."""
        return list(self._kinds)

    def take(self, name: str) -> torch.Tensor:
        """Return a tensor in all workers, which must take the same tensors in the same order."""
        shape, dtype = self._kinds.pop(name)
        return self._group.broadcast(
            self._tensors.pop(name) if self._group.is_leader else torch.empty(shape, dtype=dtype)
        )


def _checked_metadata(payload: bytes) -> dict[str, str]:
    """Return the metadata of the header, after comparing the checksum.

    The safetensors format begins with the length of its header, 8 bytes little-endian, and the header in JSON.
    """
    try:
        length = int.from_bytes(payload[:8], "little")
        metadata: dict[str, str] = json.loads(payload[8 : 8 + length])["__metadata__"]
        signature = metadata["sha256"].encode()
        start = payload.index(signature)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedCheckpointError(f"its header cannot be read ({error!r})") from None
    digest = hashlib.sha256(memoryview(payload)[:start])
    digest.update(_NO_CHECKSUM.encode())
    digest.update(memoryview(payload)[start + len(signature) :])
    if digest.hexdigest().encode() != signature:
        raise DamagedCheckpointError("its checksum is wrong")
    return metadata
