"""Short names of settings: what differs stands in them, what all share is said once, and long numbers are rounded."""

import pytest

from orchestrator.frontier import SettingNames
from orchestrator.ledger.trial_setting import settings_text
from trainables.config import TrialConfig

ASCENT = "gradient_ascent · adamw lr=0.00016423 · batch 16"
NPO = "npo beta=0.1 retain_weight=1 · sgd lr=0.03 clip_norm=1 · batch 16 · linear horizon=60"


@pytest.mark.parametrize(
    ("settings", "short", "common"),
    [
        ([], [], ""),
        ([ASCENT], ["adamw lr=1.6e-4"], "gradient_ascent · batch 16"),
        ([ASCENT, ASCENT], ["adamw lr=1.6e-4"] * 2, "gradient_ascent · batch 16"),
        (
            [ASCENT, ASCENT.replace("16423", "2"), ASCENT.replace("adamw lr=0.00016423", "sgd lr=0.1 clip_norm=1")],
            ["adamw lr=1.6e-4", "adamw lr=2e-4", "sgd lr=0.1"],
            "gradient_ascent · batch 16 · sgd clip_norm=1",
        ),
        (
            [ASCENT, NPO, NPO.replace("beta=0.1", "beta=0.5")],
            [
                "gradient_ascent adamw lr=1.6e-4",
                "npo beta=0.1 sgd lr=0.03 linear",
                "npo beta=0.5 sgd lr=0.03 linear",
            ],
            "batch 16 · npo retain_weight=1 · sgd clip_norm=1 · linear horizon=60",
        ),
        (
            [NPO, NPO.replace("beta=0.1", "beta=1")],
            ["beta=0.1 sgd lr=0.03", "beta=1 sgd lr=0.03"],
            "npo retain_weight=1 · sgd clip_norm=1 · batch 16 · linear horizon=60",
        ),
        (
            [ASCENT, ASCENT.replace("batch 16", "batch 4")],
            ["adamw lr=1.6e-4 batch 16", "adamw lr=1.6e-4 batch 4"],
            "gradient_ascent",
        ),
    ],
)  # fmt: skip
def test_short_names(settings, short, common):
    names = SettingNames(settings)
    assert [names.short(text) for text in settings] == short
    assert names.common == common


@pytest.mark.parametrize(
    ("exact", "short"),
    [("0.0001", "1e-4"), ("1e-05", "1e-5"), ("0.00016423", "1.6e-4"), ("0.02", "0.02"), ("0.1234", "0.1234"),
     ("0.12345678", "0.12"), ("1", "1"), ("50", "50"), ("1000000", "1e6"), ("0", "0"), ("sum", "sum")],
)  # fmt: skip
def test_numbers_that_a_person_wrote_keep_their_digits_and_others_have_two(exact, short):
    assert SettingNames([f"a · b lr={exact}"]).short(f"a · b lr={exact}") == f"b lr={short}"


def test_equal_words_of_different_owners_are_not_taken_for_one_another():
    """beta1 of the objective and of the optimizer."""
    left, right = "satimp beta1=5 · adamw lr=1 · batch 4", "satimp · adamw lr=1 beta1=5 · batch 4"
    names = SettingNames([left, right])
    assert names.short(left) != names.short(right)


def test_every_word_of_a_whole_setting_is_in_the_name_or_in_what_all_share():
    config = TrialConfig(objective="npo", objective_settings={"beta": 0.1}, learning_rate=0.1, batch_size=4)
    text = settings_text(config, horizon=None)
    other = settings_text(config.model_copy(update={"learning_rate": 0.2}), horizon=None)
    names = SettingNames([text, other])
    words = set(f"{names.short(text)} {names.common}".split())
    assert words == set(text.split())
