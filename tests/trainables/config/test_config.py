"""Configurations refuse unknown keys, and cannot be changed."""

import math

import pytest
from pydantic import ValidationError

from trainables.config import Config, CorpusConfig, DataConfig, ForgetSetConfig, ModelConfig, TrialConfig

IN = {"distribution": "in", "size": 4, "population": 4}


def test_an_unknown_key_names_the_nearest_known_one():
    with pytest.raises(ValidationError, match=r"unknown key 'learning_rat'; did you mean 'learning_rate'\?"):
        TrialConfig(learning_rat=0.1, batch_size=1)


def test_an_unknown_key_is_refused_at_any_depth():
    with pytest.raises(ValidationError, match=r"'populaton'; did you mean 'population'"):
        DataConfig(retain=100, heldout=4, forget_sets={"a": {**IN, "populaton": 3}})


def test_a_configuration_is_frozen():
    config = TrialConfig(learning_rate=0.1, batch_size=1)
    with pytest.raises(ValidationError, match="frozen"):
        config.learning_rate = 0.2
    assert config.learning_rate == 0.1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 0),
        ("learning_rate", -1.0),
        ("learning_rate", math.nan),
        ("batch_size", 0),
        ("micro_batch_size", 0),
        ("momentum", 1.0),
        ("clip_norm", 0.0),
        ("weight_decay", -0.1),
        ("warmup_steps", -1),
    ],
)
def test_a_trial_refuses_values_outside_their_range(field, value):
    with pytest.raises(ValidationError, match=field):
        TrialConfig(**{"learning_rate": 0.1, "batch_size": 1, field: value})


def test_a_model_has_exactly_one_origin():
    for origin in ({}, {"architecture": {"model_type": "llama"}, "pretrained": "somewhere"}):
        with pytest.raises(ValidationError, match="exactly one of 'architecture'"):
            ModelConfig(**origin)
    with pytest.raises(ValidationError, match="needs a 'model_type'"):
        ModelConfig(architecture={"hidden_size": 8})


def test_a_forget_set_has_a_canary_if_and_only_if_it_is_out_of_distribution():
    with pytest.raises(ValidationError, match="needs 'canary'"):
        ForgetSetConfig(**{**IN, "distribution": "out"})
    for extra in ({"canary": "personal_data"}, {"distractors": 2}):
        with pytest.raises(ValidationError, match="belong to distribution: out only"):
            ForgetSetConfig(**IN, **extra)
    assert ForgetSetConfig(**{**IN, "distribution": "out"}, canary="personal_data").canary == "personal_data"


def test_sizes_that_contradict_each_other_are_refused():
    with pytest.raises(ValidationError, match=r"min_words \(9\) must not exceed max_words \(8\)"):
        CorpusConfig(min_words=9, max_words=8)
    with pytest.raises(ValidationError, match=r"retain_evaluation \(11\) must not exceed retain \(10\)"):
        DataConfig(retain=10, retain_evaluation=11, heldout=4, forget_sets={"a": IN})


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b", "x" * 81])
def test_a_forget_set_name_must_be_safe_as_a_file_name(name):
    with pytest.raises(ValidationError):
        DataConfig(retain=100, heldout=4, forget_sets={name: IN})


@pytest.mark.parametrize("rate", [0.0, -1e-3, 1e38, math.inf, math.nan])
def test_a_learning_rate_no_optimizer_can_take_is_refused(rate):
    with pytest.raises(ValidationError, match="learning_rate"):
        TrialConfig(learning_rate=rate, batch_size=1)


def test_every_setting_is_described():
    """The descriptions are the docstrings of attributes, which the reference of spec keys prints."""
    kinds, undescribed = [Config], list[str]()
    while kinds:
        kind = kinds.pop()
        kinds += [inner for inner in kind.__subclasses__() if inner.__module__.startswith("trainables.config")]
        undescribed += [f"{kind.__name__}.{name}" for name, field in kind.model_fields.items() if not field.description]
    assert not undescribed
