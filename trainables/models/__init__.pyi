from . import checkpoints
from .adapters import add_adapters, has_adapters, is_of_adapters, merged, temporary_adapters
from .building import enable_gradient_checkpointing, random_model
from .checkpoints import DamagedCheckpointError
from .files.hub_access import hub_is_reachable
from .files.loading import load_model, new_model, pretrained_tokenizer, saved_tokenizer
from .files.pretrained import configuration_of, is_encoder_decoder, pretrained_files, pretrained_origin
from .files.saving import generation_file, save_model
from .frozen_base import FrozenBase
from .limits import ModelLimits, limits_of, structure_of
from .output_head import Head, split_output
from .task_vectors import negated
from .weight_movement import movement_warning
from .weights import WeightsSnapshot, named_tensors, require_kept, snapshot

__all__ = [
    "DamagedCheckpointError",
    "FrozenBase",
    "Head",
    "ModelLimits",
    "WeightsSnapshot",
    "add_adapters",
    "checkpoints",
    "configuration_of",
    "enable_gradient_checkpointing",
    "generation_file",
    "has_adapters",
    "hub_is_reachable",
    "is_encoder_decoder",
    "is_of_adapters",
    "limits_of",
    "load_model",
    "merged",
    "movement_warning",
    "named_tensors",
    "negated",
    "new_model",
    "pretrained_files",
    "pretrained_origin",
    "pretrained_tokenizer",
    "random_model",
    "require_kept",
    "save_model",
    "saved_tokenizer",
    "snapshot",
    "split_output",
    "structure_of",
    "temporary_adapters",
]
