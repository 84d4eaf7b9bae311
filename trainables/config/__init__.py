"""Frozen configurations of the science layer: model, data, preparation, trial, evaluation, stop rules.

They are keyword-only, validated at construction and refuse unknown keys. What varies in a sweep is a
``TrialConfig``; everything else is fixed for the whole sweep. No defaults are read from the environment.
"""

from trainables.config.base import Config, Distribution, LearningRate, Name, Parallelism, PositiveInt, Precision
from trainables.config.data import (
    DEFAULT_ALTERNATE,
    CorpusConfig,
    DataConfig,
    ForgetSetConfig,
    Role,
    SourceConfig,
    SourceFormat,
    TemplateConfig,
)
from trainables.config.model import LoraConfig, ModelConfig, PreparationConfig, train_steps
from trainables.config.own_settings import validated_settings
from trainables.config.trial import CheckpointConfig, EvaluationConfig, HalvingConfig, StopConfig, TrialConfig
from trainables.config.validation import problems_in

__all__ = [
    "DEFAULT_ALTERNATE",
    "CheckpointConfig",
    "Config",
    "CorpusConfig",
    "DataConfig",
    "Distribution",
    "EvaluationConfig",
    "ForgetSetConfig",
    "HalvingConfig",
    "LearningRate",
    "LoraConfig",
    "ModelConfig",
    "Name",
    "Parallelism",
    "PositiveInt",
    "Precision",
    "PreparationConfig",
    "Role",
    "SourceConfig",
    "SourceFormat",
    "StopConfig",
    "TemplateConfig",
    "TrialConfig",
    "problems_in",
    "train_steps",
    "validated_settings",
]
