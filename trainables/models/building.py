"""Models that are built from a configuration: with random weights, or with memory for weights to come."""

from copy import deepcopy
from typing import Any

import torch
from transformers import AutoConfig
from transformers.initialization import no_init_weights

from trainables.config import ModelConfig
from trainables.models.files.pretrained import (
    auto_class,
    cannot_build,
    cannot_load,
    configuration_of,
    is_encoder_decoder,
    pretrained_configuration,
    remote_code_option,
)
from trainables.torch_seeding import seeded_torch

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def model_options(config: ModelConfig) -> dict[str, Any]:
    """Return the options of Transformers that set the dtype of the weights and the attention implementation."""
    return {"dtype": _DTYPES[config.dtype], **_attention_option(config.attention)}


def random_model(config: ModelConfig, *, tokenizer: Any, seed: int) -> Any:
    """Build a model with random weights. Of a pretrained model only the configuration is used, not the weights.

    Raises:
        UnlearningError: Transformers does not know the architecture, cannot load the pretrained configuration, or
            cannot build a model from it.
    """
    configuration = deepcopy(configuration_of(config, tokenizer=tokenizer))  # building a model changes it
    own = None if config.pretrained is None else config
    kind = auto_class(is_encoder_decoder(config))
    try:
        with seeded_torch(seed, "initial_weights"):
            return kind.from_config(configuration, **remote_code_option(own), **model_options(config))
    except Exception as error:  # whatever building raises, the user's configuration is its cause
        if config.pretrained is not None:
            raise cannot_load(config, error) from error
        raise cannot_build(config, error) from error


def build_model(
    architecture: dict[str, Any], origin: ModelConfig | None, *, dtype: torch.dtype, attention: str | None
) -> Any:
    """Build a model from its configuration. The values of its tensors are undefined.

    Args:
        architecture: the Transformers configuration, as plain data.
        origin: where the model came from, which is where configuration and code of its own are found.
        dtype: of the weights.
        attention: the attention implementation; None: the choice of Transformers.
    """
    own = origin if architecture.get("auto_map") and origin is not None and origin.trust_remote_code else None
    if own is None:
        config = AutoConfig.for_model(**architecture)
    else:
        known = pretrained_configuration(own)
        config = type(known).from_dict(architecture)
        config.name_or_path = known.name_or_path  # Transformers looks for the code there
    kind = auto_class(config.is_encoder_decoder)
    with no_init_weights():
        model = kind.from_config(config, dtype=dtype, **_attention_option(attention), **remote_code_option(own))
    model.tie_weights()
    return model


def enable_gradient_checkpointing(model: Any) -> None:
    """Make the backward pass compute activations again instead of keeping them in memory."""
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _attention_option(attention: str | None) -> dict[str, Any]:
    return {} if attention is None else {"attn_implementation": attention}
