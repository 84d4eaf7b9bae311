"""Models and tokenizers that are loaded from files: pretrained ones, and those that ``saving`` wrote."""

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from trainables.config import ModelConfig
from trainables.errors import UnlearningError
from trainables.models import adapters
from trainables.models.building import model_options, random_model
from trainables.models.files.hub_access import require_findable
from trainables.models.files.pretrained import (
    LOADING_ERRORS,
    auto_class,
    cannot_load,
    is_encoder_decoder,
    pretrained_origin,
    remote_code_option,
)
from trainables.models.tied_weights import sync_tied_weights


def new_model(config: ModelConfig, *, tokenizer: Any, seed: int) -> Any:
    """Return the model that preparation starts from: with random weights of ``seed``, or with the pretrained ones.

    Raises:
        UnlearningError: Transformers does not know the architecture, or cannot load the pretrained model; or some of
            its weights are missing.
    """
    if config.pretrained is None:
        return random_model(config, tokenizer=tokenizer, seed=seed)
    encoder_decoder = is_encoder_decoder(config)  # raises where the configuration cannot be loaded
    name, where = pretrained_origin(config)
    try:
        model = _load(encoder_decoder, name, config, **where, **model_options(config))
    except LOADING_ERRORS as error:
        raise cannot_load(config, error) from error
    return _without_quantization(model) if "gguf_file" in where else model


def load_model(folder: Path, config: ModelConfig) -> tuple[Any, Any]:
    """Load (model, tokenizer) from a folder written by ``save_model``. Adapters are merged into the pretrained model.

    Args:
        folder: what ``save_model`` wrote.
        config: of the model that was saved.
    """
    tokenizer = saved_tokenizer(folder, config)
    if adapters.are_in(folder):
        return adapters.load(new_model(config, tokenizer=tokenizer, seed=0), folder), tokenizer
    encoder_decoder = AutoConfig.from_pretrained(folder, **remote_code_option(config)).is_encoder_decoder
    return _load(encoder_decoder, folder, config, **model_options(config)), tokenizer


def pretrained_tokenizer(config: ModelConfig) -> Any:
    """Load the tokenizer of a pretrained model.

    Raises:
        UnlearningError: it cannot be found or loaded.
    """
    require_findable(config)
    name, where = pretrained_origin(config)
    try:
        return AutoTokenizer.from_pretrained(name, **where, **remote_code_option(config))
    except LOADING_ERRORS as error:
        raise cannot_load(config, error) from error


def saved_tokenizer(folder: Path, config: ModelConfig) -> Any:
    """Load the tokenizer from a folder written by ``save_model``."""
    return AutoTokenizer.from_pretrained(folder, **remote_code_option(config))


def _load(encoder_decoder: bool, name: str | Path, config: ModelConfig, **options: Any) -> Any:
    """Load a model whose checkpoint has every weight. Transformers would draw missing ones at random."""
    model, found = auto_class(encoder_decoder).from_pretrained(
        name, output_loading_info=True, **remote_code_option(config), **options
    )
    missing = sorted(found["missing_keys"])
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UnlearningError(
            f"model: the weights in '{name}' lack {', '.join(missing[:5])}{more}, which {type(model).__name__} needs "
            f"and which would be drawn at random; give a complete checkpoint or, where an output matrix is missing "
            f"that is tied to the embeddings, set tie_word_embeddings: true in its config.json"
        )
    sync_tied_weights(model)
    return model


def _without_quantization(model: Any) -> Any:
    """Remove the traces of quantization: the weights are dequantized now, and are trained and saved as such."""
    model.hf_quantizer = None  # with it, Transformers refuses to save the model
    del model.config.quantization_config
    return model
