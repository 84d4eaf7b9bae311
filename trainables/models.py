"""Load, build, save, snapshot and restore models and tokenizers."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.initialization import no_init_weights

from trainables.config import ModelConfig
from trainables.errors import UnlearningError
from trainables.parallel import sharded_like
from trainables.seeding import torch_stream

BOS, PAD = "<s>", "<pad>"


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """Train a byte-level BPE tokenizer, which can encode any text. Deterministic in its arguments."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=BOS, pad_token=PAD)


def load_tokenizer(config: ModelConfig) -> Any:
    """Load the tokenizer of a pretrained model.

    Raises:
        UnlearningError: the folder or hub id cannot be loaded.
    """
    try:
        return AutoTokenizer.from_pretrained(config.pretrained, revision=config.revision)
    except (OSError, ValueError) as error:
        raise _cannot_load(config, error) from error


def new_model(config: ModelConfig, *, tokenizer: Any, seed: int) -> Any:
    """Make the model that preparation starts from: random weights of ``seed``, or the pretrained ones. In fp32.

    Raises:
        UnlearningError: Transformers does not know the architecture, or cannot load the pretrained model.
    """
    if config.pretrained is not None:
        try:
            return AutoModelForCausalLM.from_pretrained(
                config.pretrained, revision=config.revision, dtype=torch.float32
            )
        except (OSError, ValueError) as error:
            raise _cannot_load(config, error) from error
    assert config.architecture is not None  # ModelConfig has validated it
    fields = {
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": None,
    }
    try:
        architecture = AutoConfig.for_model(**{**fields, **config.architecture, "vocab_size": len(tokenizer)})
        with torch_stream(seed, "initial_weights"):
            return AutoModelForCausalLM.from_config(architecture, dtype=torch.float32)
    except Exception as error:  # whatever building raises, the architecture given is its cause
        raise UnlearningError(
            f"model.architecture: Transformers cannot build {config.architecture}: {error}; "
            f"check model_type and its fields against the Transformers configuration of that model"
        ) from error


def _cannot_load(config: ModelConfig, error: Exception) -> UnlearningError:
    return UnlearningError(
        f"model.pretrained: cannot load '{config.pretrained}'"
        f"{f' at revision {config.revision!r}' if config.revision else ''}: {str(error).splitlines()[0]}; "
        f"give a local folder made by save_pretrained, or a hub id that this machine can reach"
    )


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a Hugging Face folder (safetensors and tokenizer) that plain ``from_pretrained`` loads."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load_model(folder: Path) -> tuple[Any, Any]:
    """Load (model, tokenizer) from a folder written by ``save_model``, in fp32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(folder)


def named_tensors(model: Any) -> dict[str, torch.Tensor]:
    """Everything that defines the model's state, tied weights once: parameters and persistent buffers."""
    state = model.state_dict()  # first: a sharded model that kept layers whole after a forward pass shards them again
    parameters = dict(model.named_parameters())
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in state}
    return parameters | buffers


@dataclass(frozen=True, kw_only=True)
class WeightsSnapshot:
    """A model's state as NumPy arrays: shared by all workers of a node through Ray's object store, without copies."""

    arrays: dict[str, npt.NDArray[Any]]
    architecture: dict[str, Any]
    """The Transformers configuration to rebuild the model from."""

    def build(self) -> Any:
        """Build a model of this architecture with these weights, in fp32. No random weights are drawn before."""
        with no_init_weights():
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**self.architecture), dtype=torch.float32)
        model.tie_weights()
        self.restore(model)
        return model

    def restore(self, model: Any) -> None:
        """Copy the weights into the model, or this worker's shards of it, in place. The arrays are only read."""
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # and is not written to
            for name, tensor in named_tensors(model).items():
                tensor.copy_(sharded_like(torch.from_numpy(self.arrays[name]), tensor))


def recompute_activations(model: Any) -> None:
    """Turn gradient checkpointing on: layers run again in the backward pass, instead of keeping what they computed."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def snapshot(model: Any) -> WeightsSnapshot:
    """Copy a model's weights and configuration."""
    arrays = {name: tensor.detach().cpu().numpy().copy() for name, tensor in named_tensors(model).items()}
    return WeightsSnapshot(arrays=arrays, architecture=model.config.to_dict())
