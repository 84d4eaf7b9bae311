"""Trial keys depend on what a trial is, and on nothing else."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.identity import Stratum, canonical_json, content_hash, file_hash
from orchestrator.ledger import DriverWriter
from orchestrator.preparation.model_identity import model_tasks, workload_hash
from orchestrator.spec import load_spec
from tests.orchestrator.helpers import PROPOSAL, make_trial, memory_ledger
from trainables.config import TrialConfig
from trainables.data import build_datasets

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=4)
)


def test_canonical_json_has_one_spelling():
    assert canonical_json({"b": 1.50, "a": [1e-5, None, True, "é"]}) == '{"a":[1e-05,null,true,"é"],"b":1.5}'


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_say_is_refused(number):
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": number})


def reversed_inside(value):
    if isinstance(value, dict):
        return {key: reversed_inside(inner) for key, inner in reversed(value.items())}
    return [reversed_inside(inner) for inner in value] if isinstance(value, list) else value


@given(values)
def test_the_order_of_keys_does_not_matter(value):
    assert content_hash(reversed_inside(value)) == content_hash(value)
    assert json.loads(canonical_json(value)) == value


@given(values, values)
def test_different_content_has_a_different_hash(one, other):
    same = canonical_json(one) == canonical_json(other)
    assert (content_hash(one) == content_hash(other)) == same


def test_a_key_is_16_hex_digits_and_always_the_same():
    key = make_trial().trial_id
    assert len(key) == 16
    assert int(key, 16) >= 0
    assert make_trial().trial_id == key


def test_how_far_a_trajectory_goes_is_no_part_of_its_key():
    assert make_trial(steps=(0, 2)).trial_id == make_trial(steps=(0, 2, 5, 9, 20)).trial_id


@pytest.mark.parametrize(
    "change",
    [
        {"forget_set": "people"},
        {"seed": 1},
        {"horizon": 5},
        {"workload_hash": "other"},
        {"learning_rate": 1.0000001e-3},
        {"batch_size": 5},
        {"micro_batch_size": 4},
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "momentum": 0.9},
        {"weight_decay": 0.1},
        {"clip_norm": 1.0},
        {"schedule": "linear"},
        {"warmup_steps": 1},
        {"optimizer_settings": {"beta1": 0.8}},
        {"objective": "gradient_difference"},
        {"objective_settings": {"retain_weight": 2.0}},
        {"objective_settings": {"retain_loss": "kl"}},
        {"compat": "open-unlearning"},
    ],
)
def test_everything_else_is(change):
    assert make_trial(**change).trial_id != make_trial().trial_id


def test_trials_of_the_first_version_keep_their_keys():
    """Computed before trials had further settings: a sweep of then finds its trials again."""
    every_setting = {
        "optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1, "objective": "gradient_difference",
        "objective_settings": {"retain_weight": 2.0}, "micro_batch_size": 2, "clip_norm": 1.0, "schedule": "linear",
        "warmup_steps": 3,
    }  # fmt: skip
    assert make_trial().trial_id == "de0993c81312d254"
    assert make_trial(**every_setting, horizon=5).trial_id == "74c93b759bf352ed"


def test_settings_of_an_objective_are_stored_under_their_first_name():
    """Computed and written when the field itself was ``objective_weights``: trials keep their keys, old rows load."""
    trial = make_trial(
        objective="npo",
        objective_settings={"beta": 0.5, "retain_loss": "kl", "retain_weight": 2},
        optimizer="lion",
        optimizer_settings={"beta1": 0.8},
        compat="open-unlearning",
    )
    stored = (
        '{"batch_size":4,"clip_norm":null,"compat":"open-unlearning","learning_rate":0.001,"micro_batch_size":null,'
        '"momentum":0.0,"objective":"npo","objective_weights":{"beta":0.5,"retain_loss":"kl","retain_weight":2.0},'
        '"optimizer":"lion","optimizer_settings":{"beta1":0.8},"schedule":"constant","warmup_steps":0,'
        '"weight_decay":0.0}'
    )
    assert trial.trial_id == "a58a96305948d9f4"
    assert canonical_json(trial.config.identity()) == stored
    ledger = memory_ledger()
    DriverWriter(ledger).propose(trial, number=0, distribution="in", proposal=PROPOSAL)
    assert ledger.trial(trial.trial_id)["config"] == stored
    assert ledger.trial(trial.trial_id)["setting_id"] == "17800b72a210"
    assert TrialConfig.model_validate_json(stored) == trial.config


def test_a_later_setting_is_part_of_a_key_only_where_it_is_not_at_its_default():
    plain = make_trial().config.identity()
    assert not TrialConfig.added_later & plain.keys()
    assert make_trial(optimizer_settings={}, compat=None).trial_id == make_trial().trial_id
    told = make_trial(optimizer_settings={"beta1": 0.8}).config.identity()
    assert told == {**plain, "optimizer_settings": {"beta1": 0.8}}


def test_a_key_ignores_the_id_that_the_trial_carries():
    """Else a key would depend on a key."""
    assert make_trial(learning_rate=1e-3).trial_id == make_trial(learning_rate=0.001).trial_id


def test_a_number_has_one_key_however_yaml_spelt_it():
    assert make_trial(learning_rate="1e-3").trial_id == make_trial(learning_rate=1e-3).trial_id
    assert make_trial(batch_size=4.0).trial_id == make_trial(batch_size=4).trial_id


def test_strata_have_readable_names():
    assert Stratum(forget_set="verses", seed=3).name == "verses/seed=3"
    assert Stratum(forget_set="verses", seed=3, replicate=2).name == "verses/seed=3/replicate=2"


def test_file_hash_is_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_recomputing_activations_makes_no_other_models_and_no_other_trials():
    spec, recomputing = load_spec("demo"), load_spec("demo", overrides=("model.gradient_checkpointing=true",))
    datasets = build_datasets(spec.data)
    tasks = model_tasks(spec, datasets)
    assert model_tasks(recomputing, datasets) == tasks
    assert workload_hash(recomputing, datasets, tasks) == workload_hash(spec, datasets, tasks)
