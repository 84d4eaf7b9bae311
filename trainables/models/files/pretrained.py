"""What a model is before its weights are loaded: where a pretrained model lies, its configuration, its own code.

Nothing here reads weights. The errors of everything that fails to load are made here too.
"""

from functools import cache
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM
from transformers.utils.peft_utils import find_adapter_config_file

from trainables.config import ModelConfig
from trainables.errors import UnlearningError
from trainables.models.files.hub_access import require_findable
from trainables.models.files.package_files import package_file

LOADING_ERRORS = (OSError, ValueError, ImportError, KeyError, AttributeError, TypeError, RuntimeError)
"""What Transformers raises where a folder, file or hub id does not load, whatever is wrong with its files."""


def pretrained_origin(config: ModelConfig) -> tuple[str, dict[str, Any]]:
    """Return the arguments of ``from_pretrained``: a folder or hub id, and options that say where to look in it.

    Raises:
        UnlearningError: the name is of a Python package that is not installed.
    """
    assert config.pretrained is not None
    file = package_file(config.pretrained) or Path(config.pretrained)
    if file.suffix != ".gguf":
        return config.pretrained, {"revision": config.revision} if config.revision is not None else {}
    if file.is_file():
        return str(file.parent), {"gguf_file": file.name}
    return str(file.parent), {"gguf_file": file.name, "revision": config.revision}


def pretrained_files(config: ModelConfig) -> dict[str, Path]:
    """Return the local files of a pretrained model by relative path.

    Empty for a hub model, whose revision identifies it, and for a model that is built from scratch.
    """
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
    """Return whether the model reads a source with an encoder and writes the target with a decoder.

    Raises:
        UnlearningError: Transformers does not know the architecture, or cannot load the pretrained configuration.
    """
    if config.pretrained is None:
        assert config.architecture is not None  # ModelConfig has validated it
        return bool(_architecture(config, config.architecture).is_encoder_decoder)
    return bool(pretrained_configuration(config).is_encoder_decoder)


def configuration_of(config: ModelConfig, *, tokenizer: Any) -> Any:
    """Return the Transformers configuration of the model that preparation starts from. No weights are loaded.

    Raises:
        UnlearningError: Transformers does not know the architecture, or cannot load the pretrained configuration.
    """
    if config.pretrained is not None:
        return pretrained_configuration(config)
    encoder_decoder = is_encoder_decoder(config)
    fields = {
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id if encoder_decoder else None,
        **({"decoder_start_token_id": tokenizer.pad_token_id} if encoder_decoder else {}),
    }
    return _architecture(config, {**fields, **(config.architecture or {}), "vocab_size": len(tokenizer)})


@cache  # reading the configuration of a GGUF file takes seconds
def pretrained_configuration(config: ModelConfig) -> Any:
    """Load the Transformers configuration of a pretrained model.

    Raises:
        UnlearningError: it cannot be found or loaded, or the model contains adapters.
    """
    require_findable(config)
    name, where = pretrained_origin(config)
    try:
        _refuse_adapters(config)
        return AutoConfig.from_pretrained(name, **where, **remote_code_option(config))
    except LOADING_ERRORS as error:
        raise cannot_load(config, error) from error


def _refuse_adapters(config: ModelConfig) -> None:
    """Refuse a folder with adapters: Transformers would load the model with them, and saving would lose them.

    Raises:
        UnlearningError: the folder has adapters.
    """
    name, where = pretrained_origin(config)
    if find_adapter_config_file(name, revision=where.get("revision")) is not None:
        raise UnlearningError(
            f"model.pretrained: '{config.pretrained}' contains adapters (adapter_config.json), but a complete model is "
            f"needed: merge them (peft.AutoPeftModelForCausalLM.from_pretrained(...).merge_and_unload()), write model "
            f"and tokenizer to a new folder with save_pretrained, and give that folder; or, to use the model without "
            f"its adapters, give a copy of the folder that has no adapter files"
        )


def _architecture(config: ModelConfig, fields: dict[str, Any]) -> Any:
    try:
        return AutoConfig.for_model(**fields)
    except Exception as error:
        raise cannot_build(config, error) from error


def auto_class(encoder_decoder: bool) -> Any:
    """Return the class of Transformers that loads and builds this kind of model."""
    return AutoModelForSeq2SeqLM if encoder_decoder else AutoModelForCausalLM


def remote_code_option(config: ModelConfig | None) -> dict[str, bool]:
    """Return the option of Transformers' loading functions that says whether a model's own code may run.

    Pass it always: without it, Transformers asks at the terminal. ``None`` stands for a model without own code.
    """
    return {"trust_remote_code": config is not None and config.trust_remote_code}


def needs_remote_code(config: ModelConfig, error: Exception) -> bool:
    """Return whether Transformers refused a model because its own code may not run."""
    return "trust_remote_code" in str(error) and not config.trust_remote_code


def cannot_build(config: ModelConfig, error: Exception) -> UnlearningError:
    """Return the error for an architecture that Transformers cannot build."""
    return UnlearningError(
        f"model.architecture: Transformers cannot build {config.architecture}: {error}; "
        f"check model_type and its fields against the Transformers configuration of that model"
    )


def cannot_load(config: ModelConfig, error: Exception) -> UnlearningError:
    """Return the error for a pretrained model that does not load; it says what would load."""
    name = f"'{config.pretrained}'{f' at revision {config.revision!r}' if config.revision else ''}"
    if needs_remote_code(config, error):
        return UnlearningError(
            f"model.pretrained: {name} comes with Python code of its own, which would run on this machine with all "
            f"your rights; read it, and if you trust it add --trust-remote-code to the command; or give a model that "
            f"Transformers knows"
        )
    message = str(error).strip().splitlines() or [type(error).__name__]
    return UnlearningError(
        f"model.pretrained: cannot load {name}: {message[0]}; "
        f"give a local folder made by save_pretrained, a GGUF file, or a hub id that this machine can reach"
    )
