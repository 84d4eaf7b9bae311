"""A trial's setting as a text and as an id: the same for the same settings, never for others."""

import itertools
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.identity import canonical_json
from orchestrator.ledger.trial_setting import setting_columns, setting_id, setting_of, settings_text
from orchestrator.spec import load_spec, trial_config
from search_spaces import shipped_specs
from tests.orchestrator.helpers import PROPOSAL, make_trial, memory_ledger
from trainables.config import TrialConfig
from trainables.objectives import OBJECTIVES
from trainables.optim import OPTIMIZERS, SCHEDULES

PLAIN = {"learning_rate": 1e-3, "batch_size": 4}
CHANGES = [
    {},
    {"learning_rate": 1.0000001e-3},
    {"batch_size": 5},
    {"micro_batch_size": 4},
    {"micro_batch_size": 2},
    {"optimizer": "sgd"},
    {"optimizer": "sgd", "momentum": 0.9},
    {"optimizer": "sgd", "optimizer_settings": {"momentum": 0.9}},
    {"weight_decay": 0.1},
    {"optimizer_settings": {"weight_decay": 0.1}},
    {"clip_norm": 1.0},
    {"schedule": "inverse_sqrt"},
    {"warmup_steps": 1},
    {"optimizer_settings": {"beta1": 0.8}},
    {"optimizer_settings": {"beta1": 0.8, "beta2": 0.9}},
    {"objective": "gradient_difference"},
    {"objective": "gradient_difference", "objective_settings": {"retain_weight": 2.0}},
    {"objective": "gradient_difference", "objective_settings": {"retain_loss": "kl"}},
    {"objective": "gradient_difference", "objective_settings": {"retain_weight": 1.0}},
    {"compat": "open-unlearning"},
    {"schedule": "linear", "horizon": 5},
    {"schedule": "linear", "horizon": 9},
]


def described(*, horizon=None, **changes):
    return setting_columns(TrialConfig(**{**PLAIN, **changes}), horizon=horizon)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "gradient_ascent · adamw lr=0.001 · batch 4"),
        (
            {
                "objective": "npo", "objective_settings": {"retain_weight": 1, "beta": 0.1}, "learning_rate": 3e-5,
                "batch_size": 32,
            },
            "npo beta=0.1 retain_weight=1 · adamw lr=3e-05 · batch 32",
        ),
        (
            {
                "objective": "gradient_difference", "objective_settings": {"retain_loss": "kl"},
                "compat": "open-unlearning", "optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.01,
                "clip_norm": 1.0, "micro_batch_size": 2, "schedule": "linear", "warmup_steps": 3, "horizon": 20,
            },
            "gradient_difference retain_loss=kl compat=open-unlearning · "
            "sgd lr=0.001 momentum=0.9 weight_decay=0.01 clip_norm=1 · batch 4 micro_batch_size=2 · "
            "linear horizon=20 warmup_steps=3",
        ),
        (
            {"optimizer": "sophia", "optimizer_settings": {"hessian_every": 10, "beta1": 0.9}, "warmup_steps": 2},
            "gradient_ascent · sophia lr=0.001 beta1=0.9 hessian_every=10 · batch 4 · constant warmup_steps=2",
        ),
    ],
)  # fmt: skip
def test_settings_have_one_spelling(settings, text):
    assert described(**settings)["settings"] == text


def test_the_id_is_short_and_always_the_same():
    assert setting_id(TrialConfig(**PLAIN), horizon=None) == "0c9c9b704152"


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(CHANGES, 2)))
def test_no_two_settings_have_the_same_text_or_id(one, other):
    assert described(**one)["settings"] != described(**other)["settings"]
    assert described(**one)["setting_id"] != described(**other)["setting_id"]


def test_every_setting_of_a_trial_is_tried_above():
    """So that one that is added is not forgotten in the text."""
    changed = set().union(*CHANGES) - {"horizon"}
    assert changed == TrialConfig.model_fields.keys()


def test_a_setting_that_the_text_has_no_place_for_stands_at_its_end():
    class Later(TrialConfig):
        dropout: float = 0.0

    assert settings_text(Later(**PLAIN), horizon=None) == described()["settings"]
    assert settings_text(Later(**PLAIN, dropout=0.5), horizon=None) == described()["settings"] + " · dropout=0.5"


@st.composite
def configs(draw):
    objective = draw(st.sampled_from(sorted(OBJECTIVES)))
    numbers = st.sampled_from([0.0, 0.1, 1.0, 1e-8, 1 / 3, 1e16])
    weights = {
        name: draw(st.sampled_from(get_args(field.annotation)) if isinstance(field.default, str) else numbers)
        for name, field in OBJECTIVES[objective].settings.model_fields.items()
        if draw(st.booleans())
    }
    optimizer = draw(st.sampled_from(sorted(OPTIMIZERS)))
    own = {name: draw(numbers) for name in sorted(OPTIMIZERS[optimizer].own_settings) if draw(st.booleans())}
    return TrialConfig(
        objective=objective,
        objective_settings=weights,
        optimizer=optimizer,
        optimizer_settings=own,
        learning_rate=draw(st.floats(min_value=1e-12, max_value=1.0)),
        momentum=draw(st.sampled_from([0.0, 0.5])),
        weight_decay=draw(st.sampled_from([0.0, 0.1])),
        clip_norm=draw(st.none() | st.just(1.0)),
        batch_size=draw(st.integers(1, 3)),
        schedule=draw(st.sampled_from(sorted(SCHEDULES))),
    )


@given(configs(), configs())
def test_text_and_id_are_equal_just_where_the_settings_are(one, other):
    same = canonical_json(one.identity()) == canonical_json(other.identity())
    assert (settings_text(one, horizon=None) == settings_text(other, horizon=None)) == same
    assert (setting_id(one, horizon=None) == setting_id(other, horizon=None)) == same


@given(configs())
def test_what_the_ledger_keeps_of_a_configuration_says_the_same(config):
    ledger_row = {"config": canonical_json(config.model_dump(mode="json")), "horizon": 7}
    assert setting_of(ledger_row) == setting_columns(config, horizon=7)


@pytest.mark.parametrize("config", [None, "", "{", "[]", '{"learning_rate": 1}', '{"batch_size": 0}', "[" * 100_000])
def test_a_configuration_that_cannot_be_read_has_no_setting(config):
    assert setting_of({"config": config, "horizon": None}) == {}


def test_the_order_in_which_settings_were_given_does_not_matter():
    config = trial_config({"objective": "npo", "beta": 0.1, "retain_weight": 1, "learning_rate": 1e-3, "batch_size": 4})
    turned = trial_config(
        {"batch_size": 4, "retain_weight": 1.0, "beta": 0.1, "learning_rate": 0.001, "objective": "npo"}
    )
    assert setting_columns(config, horizon=None) == setting_columns(turned, horizon=None)


def test_trials_of_one_setting_share_it_across_forget_sets_seeds_and_workloads():
    ledger = memory_ledger()
    trials = [
        make_trial(),
        make_trial(forget_set="people"),
        make_trial(seed=1),
        make_trial(workload_hash="other"),
        make_trial(seed=2, batch_size=8),
    ]
    for number, trial in enumerate(trials):
        ledger.propose(trial, number=number, distribution="in", proposal=PROPOSAL)
    rows = {row["trial_id"]: (row["settings"], row["setting_id"]) for row in ledger.table("trials").to_pylist()}
    *same, other = (rows[trial.trial_id] for trial in trials)
    assert len(set(same)) == 1
    assert not set(other) & set(same[0])


@pytest.mark.parametrize("name", shipped_specs())
def test_the_settings_of_shipped_sweeps_fit_a_line(name):
    for config in load_spec(name).corner_configs:
        assert len(settings_text(config, horizon=None)) < 120
