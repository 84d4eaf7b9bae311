from . import checkpoints
from .adapters import add_adapters, has_adapters, merged
from .checkpoints import DamagedCheckpointError
from .frozen_base import FrozenBase
from .hub_access import reaches_the_hub, require_findable
from .limits import ModelLimits, ModelStructure, limits_of, structure_of
from .loading import (
    LOADING_ERRORS,
    cannot_load,
    code_of,
    configuration_of,
    generation_file,
    is_encoder_decoder,
    load_model,
    new_model,
    pretrained_files,
    pretrained_origin,
    random_model,
    recompute_activations,
    save_model,
    saved_tokenizer,
)
from .movement import movement_warning
from .task_vectors import negated
from .weights import WeightsSnapshot, require_kept, snapshot

__all__ = [
    "LOADING_ERRORS",
    "DamagedCheckpointError",
    "FrozenBase",
    "ModelLimits",
    "ModelStructure",
    "WeightsSnapshot",
    "add_adapters",
    "cannot_load",
    "checkpoints",
    "code_of",
    "configuration_of",
    "generation_file",
    "has_adapters",
    "is_encoder_decoder",
    "limits_of",
    "load_model",
    "merged",
    "movement_warning",
    "negated",
    "new_model",
    "pretrained_files",
    "pretrained_origin",
    "random_model",
    "reaches_the_hub",
    "recompute_activations",
    "require_findable",
    "require_kept",
    "save_model",
    "saved_tokenizer",
    "snapshot",
    "structure_of",
]
