"""Configurations of the science layer: model, data, preparation, trial, evaluation, stop rules.

They are frozen, keyword-only, validated at construction and without unknown keys. A ``TrialConfig`` is what varies in a
sweep; everything else is fixed for the whole sweep. No default depends on the environment.
"""

from trainables.config.base import COMPATS, Compat, Config, Distribution, Name, Parallelism, PositiveInt, Precision
from trainables.config.buckets import THIRDS, Bucket, Trait, buckets_by
from trainables.config.data import (
    DEFAULT_ALTERNATE,
    OWN_NAMES,
    DataConfig,
    EvaluationSetConfig,
    ForgetSetConfig,
)
from trainables.config.matching import MATCHED_WITHIN, MatchConfig
from trainables.config.model import LoraConfig, ModelConfig, PreparationConfig, ReadyModelConfig, train_steps
from trainables.config.own_settings import require_compat, validated_settings
from trainables.config.sources import CorpusConfig, Role, SourceConfig, SourceFormat, TemplateConfig
from trainables.config.trial import CheckpointConfig, EvaluationConfig, HalvingConfig, StopConfig, TrialConfig
from trainables.config.validation import problems_in

__all__ = [
    "COMPATS",
    "DEFAULT_ALTERNATE",
    "MATCHED_WITHIN",
    "OWN_NAMES",
    "THIRDS",
    "Bucket",
    "CheckpointConfig",
    "Compat",
    "Config",
    "CorpusConfig",
    "DataConfig",
    "Distribution",
    "EvaluationConfig",
    "EvaluationSetConfig",
    "ForgetSetConfig",
    "HalvingConfig",
    "LoraConfig",
    "MatchConfig",
    "ModelConfig",
    "Name",
    "Parallelism",
    "PositiveInt",
    "Precision",
    "PreparationConfig",
    "ReadyModelConfig",
    "Role",
    "SourceConfig",
    "SourceFormat",
    "StopConfig",
    "TemplateConfig",
    "Trait",
    "TrialConfig",
    "buckets_by",
    "problems_in",
    "require_compat",
    "train_steps",
    "validated_settings",
]
