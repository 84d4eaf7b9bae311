"""Models as Hugging Face folders, which plain Transformers (or PEFT, for adapters) can load."""

from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from transformers import GenerationConfig

from trainables.config import ModelConfig
from trainables.models import adapters
from trainables.models.files.pretrained import pretrained_origin

_GENERATION_FILE = "generation_config.json"
"""The model's default settings for generating text; a file beside the weights."""


def save_model(model: Any, tokenizer: Any, folder: Path, *, generation_file: bytes | None = None) -> None:
    """Write a Hugging Face folder (safetensors and tokenizer) that plain ``from_pretrained`` loads.

    Of a model with adapters only the adapters are written, and PEFT loads them.

    Args:
        model: what to write.
        tokenizer: written beside the model.
        folder: where to write.
        generation_file: the model's original ``generation_config.json``; None: write the settings that were loaded.
    """
    if adapters.has_adapters(model):
        adapters.save(model, folder)
    else:
        generation = model.generation_config
        model.generation_config = GenerationConfig()  # Transformers refuses to write some settings that it has read
        try:
            model.save_pretrained(folder)
        finally:
            model.generation_config = generation
        if generation_file is not None:
            (folder / _GENERATION_FILE).write_bytes(generation_file)
        elif generation is not None:
            generation.to_json_file(folder / _GENERATION_FILE, keys_to_pop=["compile_config"])
    tokenizer.save_pretrained(folder)


def generation_file(config: ModelConfig, folder: Path | None = None) -> bytes | None:
    """Return the ``generation_config.json`` of a pretrained model.

    It is read where the model came from or else from ``folder``, where the model was saved. None: there is no such
    file, or the model is built from scratch.
    """
    if config.pretrained is None:
        return None
    name, where = pretrained_origin(config)
    candidates: list[Any] = [Path(name) / _GENERATION_FILE]
    if not Path(name).exists():
        candidates.append(try_to_load_from_cache(name, _GENERATION_FILE, revision=where.get("revision")))
    candidates.append(folder and folder / _GENERATION_FILE)
    files = (Path(path) for path in candidates if isinstance(path, str | Path))
    return next((file.read_bytes() for file in files if file.is_file()), None)
