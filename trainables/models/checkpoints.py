"""The checkpoint of a trajectory, or of a model in training: weights, optimizer, progress in one safetensors payload.

With a checksum; no pickle.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import safetensors.torch
import torch

from trainables.distributed import ALONE, WorkerGroup, full_tensor, sharded_like
from trainables.models.weights import named_tensors

_UNSIGNED = "0" * 64
"""Stands for the checksum while it is computed."""
_TENSOR = "tensor"
"""Key of what stands in JSON for a tensor that was in a list or dictionary; its value is the tensor's name."""


class DamagedCheckpointError(Exception):
    """The payload is not what was packed: truncated, changed, or not a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far it has come. Batches, learning rates and dropout are functions of the step."""

    step: int
    tokens_seen: int = 0
    elapsed_s: float = 0.0


def pack(model: Any, optimizer: torch.optim.Optimizer, progress: Progress, group: WorkerGroup = ALONE) -> bytes:
    """Serialise everything that the rest of the way depends on, with the SHA-256 of every byte.

    It says nothing of how many workers there are. All of them take part; the leader has the payload, the others none.
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
        "optimizer_groups": json.dumps([_beside_settings(optimizer, group) for group in optimizer.param_groups]),
        "sha256": _UNSIGNED,
    }
    payload = safetensors.torch.save(tensors, metadata=metadata)
    return payload.replace(_UNSIGNED.encode(), hashlib.sha256(payload).hexdigest().encode(), 1)


def state_bytes(model: Any, optimizer: torch.optim.Optimizer) -> int:
    """Give how large a checkpoint would be, but for its header."""
    tensors, _ = _state(model, optimizer)
    return sum(tensor.nbytes for tensor in tensors.values())


def _state(model: Any, optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Collect the tensors (or shards of them) of model and optimizer, and the optimizer's other values, by name."""
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
    """Move the tensors out of nested lists and dictionaries, by path, and leave in JSON where they were."""
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
    """Put the tensors back where they were, and out of the dictionary."""
    match value:
        case list():
            return [_with_tensors(inner, tensors) for inner in value]
        case dict() if _TENSOR in value:
            return tensors.pop(value[_TENSOR])
        case dict():
            return {key: _with_tensors(inner, tensors) for key, inner in value.items()}
        case _:
            return value


def _beside_settings(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> dict[str, Any]:
    """What an optimizer keeps in a group beside its settings, which are the trial's: how many steps it took."""
    return {key: value for key, value in group.items() if key != "params" and key not in optimizer.defaults}


def unpack(payload: bytes, model: Any, optimizer: torch.optim.Optimizer, group: WorkerGroup = ALONE) -> Progress:
    """Restore model and optimizer in place, exactly as they were packed.

    The leader's payload counts; it is handed out tensor by tensor, and the other workers never hold all of it.

    Raises:
        DamagedCheckpointError: the payload is not what was packed; model and optimizer are untouched.
    """
    contents = _Contents(payload, group)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    progress = _require_fitting(contents, model, parameters)
    with torch.no_grad():
        for name, tensor in named_tensors(model).items():
            tensor.copy_(sharded_like(contents.take(f"model.{name}"), tensor))
    tensors = {}
    for name in contents.left():
        parameter, value = parameters[int(name.split(".")[1])], contents.take(name)
        tensors[name] = sharded_like(value, parameter) if value.shape == parameter.shape else value
    values = _with_tensors(json.loads(contents.metadata["optimizer_scalars"]), tensors)
    state: dict[int, dict[str, Any]] = {}
    for name, value in (values | tensors).items():  # tensors that were in no list or dictionary are left
        _, index, key = name.split(".", 2)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": _groups(optimizer, contents.metadata)})
    return progress


def _require_fitting(contents: "_Contents", model: Any, parameters: list[Any]) -> Progress:
    """See, before anything is changed, that what was packed is of this model and its optimizer."""
    shapes = {f"model.{name}": tensor.shape for name, tensor in named_tensors(model).items()}
    found = contents.shapes()
    own = {name: shape for name, shape in found.items() if name.startswith("model.")}
    if own != shapes:
        different = sorted(name for name in own.keys() | shapes.keys() if own.get(name) != shapes.get(name))
        raise DamagedCheckpointError(f"it is of another model: {', '.join(different[:3])}")
    for name in found.keys() - own.keys():
        parts = name.split(".")
        if len(parts) < 3 or parts[0] != "optimizer" or not parts[1].isdecimal() or int(parts[1]) >= len(parameters):
            raise DamagedCheckpointError(f"it has '{name}', which is of no optimizer of this model")
    try:
        json.loads(contents.metadata["optimizer_scalars"])
        return Progress(**json.loads(contents.metadata["progress"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedCheckpointError(f"its header cannot be read ({error!r})") from None


def _groups(optimizer: torch.optim.Optimizer, metadata: dict[str, str]) -> list[dict[str, Any]]:
    """Give the optimizer's groups with its own settings, and beside them what was packed."""
    groups = optimizer.state_dict()["param_groups"]
    packed = json.loads(metadata.get("optimizer_groups", "null")) or [{} for _ in groups]  # the first ones have none
    return [
        {key: value for key, value in group.items() if key == "params" or key in optimizer.defaults} | beside
        for group, beside in zip(groups, packed, strict=True)
    ]


class _Contents:
    """What a sound payload holds: its metadata in every worker, its tensors in the leader until they are taken."""

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
        """Give the shapes of all tensors, the same in all workers."""
        return {name: shape for name, (shape, _) in self._kinds.items()}

    def left(self) -> list[str]:
        """List the tensors that were not taken, in one order for all workers."""
        return list(self._kinds)

    def take(self, name: str) -> torch.Tensor:
        """Give a tensor to all workers, which take the same ones in the same order."""
        shape, dtype = self._kinds.pop(name)
        return self._group.broadcast(
            self._tensors.pop(name) if self._group.is_leader else torch.empty(shape, dtype=dtype)
        )


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
