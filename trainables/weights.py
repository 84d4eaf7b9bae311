"""The state of a model: what it consists of, a copy that workers share, and putting it back."""

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt
import torch
from transformers import AutoConfig, GenerationConfig
from transformers.initialization import no_init_weights

from trainables.adapters import add_adapters, has_adapters
from trainables.config import LoraConfig
from trainables.models import auto_class
from trainables.parallel import sharded_like


def named_tensors(model: Any) -> dict[str, torch.Tensor]:
    """Everything of a model's state that ascent or training may change: parameters and persistent buffers.

    Tied weights are there once. Of a model with adapters, they alone.
    """
    state = model.state_dict()  # first: a sharded model that kept layers whole after a forward pass shards them again
    if has_adapters(model):
        return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    parameters = dict(model.named_parameters())
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in state}
    return parameters | buffers


def arrays_of(tensors: dict[str, torch.Tensor]) -> dict[str, npt.NDArray[Any]]:
    """Copy tensors into NumPy arrays; bfloat16, which NumPy lacks, as integers of the same bits."""
    return {name: _bits(tensor.detach().cpu()).numpy().copy() for name, tensor in tensors.items()}


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.int16) if tensor.dtype is torch.bfloat16 else tensor


def _copy_in_place(arrays: dict[str, npt.NDArray[Any]], tensors: dict[str, torch.Tensor]) -> None:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # and is not written to
        for name, tensor in tensors.items():
            value = torch.from_numpy(arrays[name])
            value = value.view(torch.bfloat16) if tensor.dtype is torch.bfloat16 else value
            tensor.copy_(sharded_like(value, tensor))


@dataclass(frozen=True, kw_only=True)
class WeightsSnapshot:
    """A model's state as NumPy arrays: shared by all workers of a node through Ray's object store, without copies."""

    arrays: dict[str, npt.NDArray[Any]]
    architecture: dict[str, Any]
    """The Transformers configuration to rebuild the model from."""
    dtype: torch.dtype = torch.float32
    attention: str | None = None
    generation: dict[str, Any] = field(default_factory=dict)
    """How the model writes texts, by Transformers' names."""
    lora: LoraConfig | None = None
    adapters: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    """Adapters as ascent starts with them: they change nothing yet."""

    def build(self) -> Any:
        """Build a model of this architecture with these weights. No random weights are drawn before."""
        model = self._build_base()
        if self.lora is not None:
            model = add_adapters(model, self.lora, seed=0)
            self.restore(model)
        return model

    def _build_base(self) -> Any:
        architecture = AutoConfig.for_model(**self.architecture)
        options = {} if self.attention is None else {"attn_implementation": self.attention}
        with no_init_weights():
            model = auto_class(architecture.is_encoder_decoder).from_config(architecture, dtype=self.dtype, **options)
        model.tie_weights()
        if self.generation:
            model.generation_config = GenerationConfig.from_dict(self.generation)
        _copy_in_place(self.arrays, named_tensors(model))
        return model

    def restore(self, model: Any) -> None:
        """Copy into the model, or this worker's shards of it, what ascent changes. The arrays are only read."""
        _copy_in_place(self.adapters if has_adapters(model) else self.arrays, named_tensors(model))


def snapshot(model: Any, *, attention: str | None = None, lora: LoraConfig | None = None) -> WeightsSnapshot:
    """Copy a model's weights and configuration. With ``lora``, ascent will train adapters beside them.

    Raises:
        UnlearningError: the model has none of the modules that adapters were asked for.
    """
    arrays = arrays_of(named_tensors(model))
    architecture, dtype, generation = model.config.to_dict(), model.dtype, model.generation_config
    fresh = arrays_of(named_tensors(add_adapters(model, lora, seed=0))) if lora is not None else {}
    return WeightsSnapshot(
        arrays=arrays,
        architecture=architecture,
        dtype=dtype,
        attention=attention,
        generation=generation.to_dict() if generation is not None else {},
        lora=lora,
        adapters=fresh,
    )
