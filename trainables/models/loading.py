"""Find, load, build and save models: by folder, hub id or GGUF file, or from scratch; causal and encoder-decoder."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig
from transformers.initialization import no_init_weights
from transformers.utils.peft_utils import find_adapter_config_file

from trainables.config import ModelConfig
from trainables.errors import UnlearningError
from trainables.models import adapters
from trainables.models.hub_access import require_findable
from trainables.models.package_files import package_file
from trainables.models.ties import settle_ties
from trainables.torch_streams import torch_stream

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

GENERATION_FILE = "generation_config.json"
"""How a model writes texts by itself; beside its weights."""


def pretrained_origin(config: ModelConfig) -> tuple[str, dict[str, Any]]:
    """Give what ``from_pretrained`` takes: a folder or hub id, and where in it to look.

    Raises:
        UnlearningError: a Python package that is named is not installed.
    """
    assert config.pretrained is not None
    file = package_file(config.pretrained) or Path(config.pretrained)
    if file.suffix != ".gguf":
        return config.pretrained, {"revision": config.revision} if config.revision is not None else {}
    if file.is_file():
        return str(file.parent), {"gguf_file": file.name}
    return str(file.parent), {"gguf_file": file.name, "revision": config.revision}


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
    require_findable(config)
    name, where = pretrained_origin(config)
    try:
        _refuse_adapters(config)
        return AutoConfig.from_pretrained(name, **where, **code_of(config))
    except LOADING_ERRORS as error:
        raise cannot_load(config, error) from error


def code_of(config: ModelConfig | None) -> dict[str, bool]:
    """Give the option of every loading function of Transformers that says whether a model's own code may run.

    It is always given: left open, Transformers asks at the terminal. None: a model that has no code of its own.
    """
    return {"trust_remote_code": config is not None and config.trust_remote_code}


def _refuse_adapters(config: ModelConfig) -> None:
    """Refuse what Transformers would load as another model with adapters in it, which would be lost on the way.

    Raises:
        UnlearningError: there are adapters.
    """
    name, where = pretrained_origin(config)
    if find_adapter_config_file(name, revision=where.get("revision")) is not None:
        raise UnlearningError(
            f"model.pretrained: '{config.pretrained}' has adapters in it (adapter_config.json); a whole model is "
            f"needed: merge them (peft.AutoPeftModelForCausalLM.from_pretrained(...).merge_and_unload()), write model "
            f"and tokenizer to a new folder with save_pretrained, and give that; or, where the model beside them is "
            f"meant without them, a copy of the folder that has no adapter files"
        )


def new_model(config: ModelConfig, *, tokenizer: Any, seed: int) -> Any:
    """Make the model that preparation starts from: random weights of ``seed``, or the pretrained ones.

    Raises:
        UnlearningError: Transformers does not know the architecture, or cannot load the pretrained model; or not all
            of its weights are there.
    """
    options = {"dtype": DTYPES[config.dtype], **_attention(config.attention)}
    if config.pretrained is not None:
        encoder_decoder = is_encoder_decoder(config)  # it refuses what cannot be loaded
        name, where = pretrained_origin(config)
        try:
            model = _load(encoder_decoder, name, config, **where, **options)
        except LOADING_ERRORS as error:
            raise cannot_load(config, error) from error
        return _plain(model) if "gguf_file" in where else model
    return random_model(config, tokenizer=tokenizer, seed=seed)


def random_model(config: ModelConfig, *, tokenizer: Any, seed: int) -> Any:
    """Make a model of random weights; of a pretrained one with its configuration alone, and none of its weights.

    Raises:
        UnlearningError: Transformers does not know the architecture, cannot load the pretrained configuration, or
            cannot build a model of it.
    """
    configuration = deepcopy(configuration_of(config, tokenizer=tokenizer))  # building writes into it
    options = {"dtype": DTYPES[config.dtype], **_attention(config.attention)}
    own = None if config.pretrained is None else config
    try:
        with torch_stream(seed, "initial_weights"):
            return auto_class(is_encoder_decoder(config)).from_config(configuration, **code_of(own), **options)
    except Exception as error:  # whatever building raises, the configuration given is its cause
        if config.pretrained is not None:
            raise cannot_load(config, error) from error
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


def _load(encoder_decoder: bool, name: str | Path, config: ModelConfig, **options: Any) -> Any:
    """Load a model of which every weight is in the checkpoint; Transformers would draw the others at random."""
    model, found = auto_class(encoder_decoder).from_pretrained(
        name, output_loading_info=True, **code_of(config), **options
    )
    missing = sorted(found["missing_keys"])
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UnlearningError(
            f"model: the weights in '{name}' lack {', '.join(missing[:5])}{more}, which {type(model).__name__} needs, "
            f"and which would be drawn at random; give a complete checkpoint, or, where an output matrix is missing "
            f"that is the embeddings', say tie_word_embeddings: true in its config.json"
        )
    settle_ties(model)
    return model


def build_model(
    architecture: dict[str, Any], origin: ModelConfig | None, *, dtype: torch.dtype, attention: str | None
) -> Any:
    """Build a model of a configuration, with tensors of any content.

    Args:
        architecture: the configuration, as plain data.
        origin: where the model came from; its configuration and code are found there if they are its own.
        dtype: of the weights.
        attention: its implementation; None: Transformers' choice.
    """
    own = origin if architecture.get("auto_map") and origin is not None and origin.trust_remote_code else None
    if own is None:
        config = AutoConfig.for_model(**architecture)
    else:
        known = _pretrained_configuration(own)
        config = type(known).from_dict(architecture)
        config.name_or_path = known.name_or_path  # Transformers looks for the code there
    kind = auto_class(config.is_encoder_decoder)
    with no_init_weights():
        model = kind.from_config(config, dtype=dtype, **_attention(attention), **code_of(own))
    model.tie_weights()
    return model


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


def _attention(attention: str | None) -> dict[str, Any]:
    return {} if attention is None else {"attn_implementation": attention}


def auto_class(encoder_decoder: bool) -> Any:
    """Give the class of Transformers that loads and builds this kind of model."""
    return AutoModelForSeq2SeqLM if encoder_decoder else AutoModelForCausalLM


def _cannot_build(config: ModelConfig, error: Exception) -> UnlearningError:
    return UnlearningError(
        f"model.architecture: Transformers cannot build {config.architecture}: {error}; "
        f"check model_type and its fields against the Transformers configuration of that model"
    )


LOADING_ERRORS = (OSError, ValueError, ImportError, KeyError, AttributeError, TypeError, RuntimeError)
"""What Transformers raises where a folder, file or hub id does not load, for whatever is wrong with its files."""


def needs_its_code(config: ModelConfig, error: Exception) -> bool:
    """Return whether Transformers refuses a model because its own code may not run."""
    return "trust_remote_code" in str(error) and not config.trust_remote_code


def cannot_load(config: ModelConfig, error: Exception) -> UnlearningError:
    """Say that a pretrained model does not load, and what does."""
    name = f"'{config.pretrained}'{f' at revision {config.revision!r}' if config.revision else ''}"
    if needs_its_code(config, error):
        return UnlearningError(
            f"model.pretrained: {name} comes with Python code of its own, which would run on this machine with all "
            f"your rights; read it, and if you trust it add --trust-remote-code to the command; or give a model that "
            f"Transformers knows"
        )
    said = str(error).strip().splitlines() or [type(error).__name__]
    return UnlearningError(
        f"model.pretrained: cannot load {name}: {said[0]}; "
        f"give a local folder made by save_pretrained, a GGUF file, or a hub id that this machine can reach"
    )


def save_model(model: Any, tokenizer: Any, folder: Path, *, generation_file: bytes | None = None) -> None:
    """Write a Hugging Face folder (safetensors and tokenizer) that plain ``from_pretrained`` loads.

    Of a model with adapters only these are written, and PEFT loads them.

    Args:
        model: what is written.
        tokenizer: beside it.
        folder: where.
        generation_file: how the model writes texts by itself, as whoever made it wrote it; None: as it is loaded.
    """
    if adapters.has_adapters(model):
        adapters.save(model, folder)
    else:
        habits = model.generation_config
        model.generation_config = GenerationConfig()  # Transformers refuses to write some that it has read
        try:
            model.save_pretrained(folder)
        finally:
            model.generation_config = habits
        if generation_file is not None:
            (folder / GENERATION_FILE).write_bytes(generation_file)
        elif habits is not None:
            habits.to_json_file(folder / GENERATION_FILE, keys_to_pop=["compile_config"])
    tokenizer.save_pretrained(folder)


def generation_file(config: ModelConfig, folder: Path | None = None) -> bytes | None:
    """Read how a pretrained model writes texts by itself, from where it came, or else from where it was saved."""
    if config.pretrained is None:
        return None
    name, where = pretrained_origin(config)
    places: list[Any] = [Path(name) / GENERATION_FILE]
    if not Path(name).exists():
        places.append(try_to_load_from_cache(name, GENERATION_FILE, revision=where.get("revision")))
    places.append(folder and folder / GENERATION_FILE)
    return next((Path(p).read_bytes() for p in places if isinstance(p, str | Path) and Path(p).is_file()), None)


def saved_tokenizer(folder: Path, config: ModelConfig) -> Any:
    """Load the tokenizer from a folder written by ``save_model``."""
    return AutoTokenizer.from_pretrained(folder, **code_of(config))


def load_model(folder: Path, config: ModelConfig) -> tuple[Any, Any]:
    """Load (model, tokenizer) from a folder written by ``save_model``; adapters are merged into the pretrained model.

    Args:
        folder: what was written.
        config: of the model that was written.
    """
    tokenizer = saved_tokenizer(folder, config)
    if adapters.are_in(folder):
        return adapters.load(new_model(config, tokenizer=tokenizer, seed=0), folder), tokenizer
    encoder_decoder = AutoConfig.from_pretrained(folder, **code_of(config)).is_encoder_decoder
    options = {"dtype": DTYPES[config.dtype], **_attention(config.attention)}
    return _load(encoder_decoder, folder, config, **options), tokenizer


def recompute_activations(model: Any) -> None:
    """Turn gradient checkpointing on: layers run again in the backward pass, instead of keeping what they computed."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
