"""The state of a model: its tensors, and snapshots of them that workers share, build models from and restore."""

import os
import tempfile
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from transformers import GenerationConfig

from trainables.config import LoraConfig, ModelConfig
from trainables.distributed import sharded_like
from trainables.models.adapters import add_adapters, has_adapters
from trainables.models.building import build_model
from trainables.models.comparison import differences, equal, probe_logits, require_same
from trainables.models.files.loading import load_model
from trainables.models.tied_weights import shared_names, tie_parameters_as


def named_tensors(model: Any) -> dict[str, torch.Tensor]:
    """Return all tensors that training may change, by name: parameters and persistent buffers; tied weights once.

    Of a model with adapters, only the adapters.
    """
    state = model.state_dict()  # before the rest: it shards layers again that a forward pass has gathered
    if has_adapters(model):
        return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    parameters = dict(model.named_parameters())
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in state}
    return parameters | buffers


def arrays_of(tensors: dict[str, torch.Tensor]) -> dict[str, npt.NDArray[Any]]:
    """Return copies of tensors as NumPy arrays; bfloat16, which NumPy lacks, as integers of the same bits."""
    return {name: _bits(tensor.detach().cpu()).numpy().copy() for name, tensor in tensors.items()}


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.int16) if tensor.dtype is torch.bfloat16 else tensor


def _tensor(array: npt.NDArray[Any], dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor in the memory of an array. It must not be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes to it
        value = torch.from_numpy(array)
    return value.view(torch.bfloat16) if dtype is torch.bfloat16 else value


def _copy_in_place(arrays: dict[str, npt.NDArray[Any]], tensors: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(sharded_like(_tensor(arrays[name], tensor.dtype), tensor))


@dataclass(frozen=True, kw_only=True)
class WeightsSnapshot:
    """A model's state as NumPy arrays, which Ray's object store shares among the workers of a node without copying."""

    arrays: dict[str, npt.NDArray[Any]]
    """Parameters and buffers that are saved with a model."""
    constants: dict[str, npt.NDArray[Any]]
    """Buffers that are not saved with a model, since its class computes them."""
    dtypes: dict[str, torch.dtype]
    """Dtypes of all of these."""
    shared: dict[str, str]
    """Tied parameters: see ``tied_weights.shared_names``."""
    architecture: dict[str, Any]
    """The Transformers configuration to build the model from, as plain data."""
    model: ModelConfig | None = None
    """Where the model came from; needed if it has code of its own."""
    dtype: torch.dtype = torch.float32
    attention: str | None = None
    generation: dict[str, Any] = field(default_factory=dict)
    """Settings of Transformers for generating text."""
    generation_file: bytes | None = None
    """The model's original ``generation_config.json``, to be exported with it."""
    lora: LoraConfig | None = None
    adapters: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    """Adapters before ascent, when they change nothing yet."""

    def mapped(self, folder: Path, *, at_least_bytes: int = 2**20) -> Self:
        """Return the snapshot with its large arrays in files of a folder, from which memory is filled when it is used.

        Args:
            folder: has to stay while the snapshot is used.
            at_least_bytes: size of a large array.
        """
        arrays = dict(self.arrays)
        for name, array in self.arrays.items():
            if array.nbytes >= at_least_bytes:
                handle, path = tempfile.mkstemp(dir=folder, suffix=".weights")
                os.close(handle)
                array.tofile(path)
                arrays[name] = np.memmap(path, dtype=array.dtype, mode="r", shape=array.shape)
        return replace(self, arrays=arrays)

    def build(self) -> Any:
        """Return a model of this architecture with these weights. No random weights are drawn."""
        model = self._build_base()
        _copy_in_place(self.arrays, named_tensors(model))
        if self.lora is not None:
            model = add_adapters(model, self.lora, seed=0)
            self.restore(model)
        return model

    def view(self) -> Any:
        """Return the base model in the memory of the arrays. It must not be written to."""
        model = self._build_base()
        for name, tensor in named_tensors(model).items():
            tensor.data = _tensor(self.arrays[name], tensor.dtype)
        return model

    def _build_base(self) -> Any:
        model = build_model(self.architecture, self.model, dtype=self.dtype, attention=self.attention)
        if self.generation:
            model.generation_config = GenerationConfig.from_dict(self.generation)
        require_same(model, self._different_parameters(model), "rebuilding it from its configuration")
        tie_parameters_as(model, self.shared)
        for name, tensor in (dict(model.named_parameters()) | dict(model.named_buffers())).items():
            if name in self.dtypes and tensor.dtype is not self.dtypes[name]:
                tensor.data = tensor.data.to(self.dtypes[name])
        for name, array in self.constants.items():
            module, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(module), attribute, _tensor(array, self.dtypes[name]).clone())
        return model

    def _different_parameters(self, model: Any) -> list[str]:
        """Return, as sentences, the parameters that a model lacks, has in addition, or has in another shape."""
        shapes = {name: tuple(tensor.shape) for name, tensor in model.named_parameters(remove_duplicate=False)}
        mine = {name: self.arrays[first].shape for name, first in self.shared.items()}
        return [
            f"parameter '{name}' had the shape {mine.get(name, '(it was not there)')}, and now has "
            f"{shapes.get(name, '(it is not there)')}"
            for name in sorted(shapes.keys() | mine.keys())
            if shapes.get(name) != mine.get(name)
        ]

    def start(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        """Return a tensor as it is before ascent. It must not be written to."""
        return _tensor((self.adapters if name in self.adapters else self.arrays)[name], dtype)

    def restore(self, model: Any) -> None:
        """Reset what ascent changes in a model, or in this worker's shards of it."""
        _copy_in_place(self.adapters if has_adapters(model) else self.arrays, named_tensors(model))


def snapshot(
    model: Any,
    *,
    attention: str | None = None,
    lora: LoraConfig | None = None,
    origin: ModelConfig | None = None,
    generation_file: bytes | None = None,
    device: torch.device | None = None,
) -> WeightsSnapshot:
    """Return a snapshot of a model's weights and configuration. With ``lora``, ascent will train adapters.

    A model is built from the snapshot and compared with the original: names, shapes, dtypes, ties, buffers, and the
    logits of a few tokens must be equal, bit for bit.

    Args:
        model: without adapters.
        attention: the attention implementation, if the user chose it.
        lora: adapters to train.
        origin: where the model came from; needed if it has code of its own.
        generation_file: its original ``generation_config.json``.
        device: where both models are run for the comparison, one after the other; None: where the model is.

    Raises:
        UnlearningError: the rebuilt model differs, or the model has none of the modules that adapters are asked for.
    """
    state = named_tensors(model)
    constants = {name: buffer for name, buffer in model.named_buffers() if name not in state}
    generation = model.generation_config
    taken = WeightsSnapshot(
        arrays=arrays_of(state),
        constants=arrays_of(constants),
        dtypes={name: tensor.dtype for name, tensor in (state | constants).items()},
        shared=shared_names(model),
        architecture=model.config.to_dict(),
        model=origin,
        dtype=model.dtype,
        attention=attention,
        generation=generation.to_dict() if generation is not None else {},
        generation_file=generation_file,
        lora=lora,
    )
    _require_rebuilt(model, taken, device or model.device)
    if lora is None:
        return taken
    return replace(taken, adapters=arrays_of(named_tensors(add_adapters(model, lora, seed=0))))


def _require_rebuilt(model: Any, taken: WeightsSnapshot, device: torch.device) -> None:
    home = model.device
    expected = probe_logits(model.to(device))
    model.to(home)
    rebuilt = taken.view().to(home)
    found = differences(model, rebuilt)
    if not found and not equal(expected, probe_logits(rebuilt.to(device))):
        found = ["the same tokens give other logits"]
    require_same(model, found, "rebuilding it from its configuration")


def require_kept(model: Any, folder: Path, config: ModelConfig) -> None:
    """Require that a folder written by ``save_model`` loads as the same model. Adapters are not checked.

    Raises:
        UnlearningError: the loaded model differs.
    """
    if not has_adapters(model):
        kept, _ = load_model(folder, config)
        require_same(model, differences(model, kept), "saving it and loading it again")
