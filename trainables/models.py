"""Find, load, build and save models: by folder, hub id or GGUF file, or from scratch; causal and encoder-decoder."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from trainables import adapters
from trainables.config import ModelConfig
from trainables.errors import UnlearningError
from trainables.seeding import torch_stream

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

_PACKAGE = "package:"


def pretrained_origin(config: ModelConfig) -> tuple[str, dict[str, Any]]:
    """Give what ``from_pretrained`` takes: a folder or hub id, and where in it to look.

    Raises:
        UnlearningError: a Python package that is named is not installed.
    """
    assert config.pretrained is not None
    file = _package_file(config.pretrained) or Path(config.pretrained)
    if file.suffix != ".gguf":
        return config.pretrained, {"revision": config.revision} if config.revision is not None else {}
    if file.is_file():
        return str(file.parent), {"gguf_file": file.name}
    return str(file.parent), {"gguf_file": file.name, "revision": config.revision}


def _package_file(pretrained: str) -> Path | None:
    if not pretrained.startswith(_PACKAGE):
        return None
    package, _, name = pretrained.removeprefix(_PACKAGE).partition("/")
    found = find_spec(package)  # it is not imported: what else it does, and needs, is of no concern
    if found is None or not found.submodule_search_locations:
        raise UnlearningError(
            f"model.pretrained: '{pretrained}' needs the Python package '{package.replace('_', '-')}', which is not "
            f"installed; install it"
        )
    return Path(found.submodule_search_locations[0]) / name


def pretrained_files(config: ModelConfig) -> dict[str, Path]:
    """Give the local files of a pretrained model, by their names within it; none of one of the hub: its revision names
    it."""
    if config.pretrained is None:
        return {}
    name, options = pretrained_origin(config)
    if "gguf_file" in options:
        file = Path(name) / options["gguf_file"]
        return {file.name: file} if file.is_file() else {}
    folder = Path(name)
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    return {file.relative_to(folder).as_posix(): file for file in files}


def is_encoder_decoder(config: ModelConfig) -> bool:
    """Tell whether a model reads a source with an encoder and writes the target with a decoder.

    Raises:
        UnlearningError: Transformers does not know the architecture, or cannot load the pretrained configuration.
    """
    if config.pretrained is None:
        assert config.architecture is not None  # ModelConfig has validated it
        return bool(_architecture(config, config.architecture).is_encoder_decoder)
    return bool(_pretrained_configuration(config).is_encoder_decoder)


@cache  # of a GGUF file it takes seconds
def _pretrained_configuration(config: ModelConfig) -> Any:
    name, options = pretrained_origin(config)
    try:
        return AutoConfig.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        raise cannot_load(config, error) from error


def new_model(config: ModelConfig, *, tokenizer: Any, seed: int) -> Any:
    """Make the model that preparation starts from: random weights of ``seed``, or the pretrained ones.

    Raises:
        UnlearningError: Transformers does not know the architecture, or cannot load the pretrained model.
    """
    options = {"dtype": DTYPES[config.dtype], **_attention(config)}
    if config.pretrained is not None:
        name, where = pretrained_origin(config)
        try:
            model = auto_class(is_encoder_decoder(config)).from_pretrained(name, **where, **options)
        except (OSError, ValueError, ImportError) as error:
            raise cannot_load(config, error) from error
        return _plain(model) if "gguf_file" in where else model
    architecture = configuration_of(config, tokenizer=tokenizer)
    try:
        with torch_stream(seed, "initial_weights"):
            return auto_class(is_encoder_decoder(config)).from_config(architecture, **options)
    except Exception as error:  # whatever building raises, the architecture given is its cause
        raise _cannot_build(config, error) from error


def configuration_of(config: ModelConfig, *, tokenizer: Any) -> Any:
    """Return the Transformers configuration of the model that preparation starts from; no weights are loaded.

    Raises:
        UnlearningError: Transformers does not know the architecture, or cannot load the pretrained configuration.
    """
    if config.pretrained is not None:
        return _pretrained_configuration(config)
    encoder_decoder = is_encoder_decoder(config)
    fields = {
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id if encoder_decoder else None,
        **({"decoder_start_token_id": tokenizer.pad_token_id} if encoder_decoder else {}),
    }
    return _architecture(config, {**fields, **(config.architecture or {}), "vocab_size": len(tokenizer)})


def _plain(model: Any) -> Any:
    """Forget that a model's weights came quantized: they are plain numbers now, and are trained and saved as such."""
    model.hf_quantizer = None  # Transformers would refuse to save the model
    del model.config.quantization_config
    return model


def _architecture(config: ModelConfig, fields: dict[str, Any]) -> Any:
    try:
        return AutoConfig.for_model(**fields)
    except Exception as error:
        raise _cannot_build(config, error) from error


def _attention(config: ModelConfig) -> dict[str, Any]:
    return {} if config.attention is None else {"attn_implementation": config.attention}


def auto_class(encoder_decoder: bool) -> Any:
    """Give the class of Transformers that loads and builds this kind of model."""
    return AutoModelForSeq2SeqLM if encoder_decoder else AutoModelForCausalLM


def _cannot_build(config: ModelConfig, error: Exception) -> UnlearningError:
    return UnlearningError(
        f"model.architecture: Transformers cannot build {config.architecture}: {error}; "
        f"check model_type and its fields against the Transformers configuration of that model"
    )


def cannot_load(config: ModelConfig, error: Exception) -> UnlearningError:
    """Say that a pretrained model does not load, and what does."""
    return UnlearningError(
        f"model.pretrained: cannot load '{config.pretrained}'"
        f"{f' at revision {config.revision!r}' if config.revision else ''}: {str(error).splitlines()[0]}; "
        f"give a local folder made by save_pretrained, a GGUF file, or a hub id that this machine can reach"
    )


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a Hugging Face folder (safetensors and tokenizer) that plain ``from_pretrained`` loads.

    Of a model with adapters only these are written, and PEFT loads them.
    """
    adapters.save(model, folder) if adapters.has_adapters(model) else model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def saved_tokenizer(folder: Path) -> Any:
    """Load the tokenizer from a folder written by ``save_model``."""
    return AutoTokenizer.from_pretrained(folder)


def load_model(folder: Path, config: ModelConfig) -> tuple[Any, Any]:
    """Load (model, tokenizer) from a folder written by ``save_model``; adapters are merged into the pretrained model.

    Args:
        folder: what was written.
        config: of the model that was written.
    """
    tokenizer = saved_tokenizer(folder)
    if adapters.are_in(folder):
        return adapters.load(new_model(config, tokenizer=tokenizer, seed=0), folder), tokenizer
    encoder_decoder = AutoConfig.from_pretrained(folder).is_encoder_decoder
    options = {"dtype": DTYPES[config.dtype], **_attention(config)}
    return auto_class(encoder_decoder).from_pretrained(folder, **options), tokenizer


def recompute_activations(model: Any) -> None:
    """Turn gradient checkpointing on: layers run again in the backward pass, instead of keeping what they computed."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
