"""Objectives and optimizers declare their settings in one way, and mistakes in them are answered in one way."""

import pytest
from pydantic import ValidationError

from trainables.config import Config, validated_settings
from trainables.errors import UnlearningError
from trainables.objectives import OBJECTIVES
from trainables.optim import OPTIMIZERS

DECLARED = [(name, entry.settings) for registry in (OBJECTIVES, OPTIMIZERS) for name, entry in registry.items()]


@pytest.mark.parametrize(("name", "settings"), DECLARED)
def test_settings_are_a_frozen_configuration_whose_every_field_has_a_default_and_says_what_it_is(name, settings):
    assert issubclass(settings, Config)
    assert settings.__doc__
    for field in settings.model_fields.values():
        assert field.description
        assert not field.is_required()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings(), next(iter(settings.model_fields)), 1.0)


class Mine(Config):
    slope: float = 1.0
    """Of mine."""


class Yours(Config):
    offset: float = 0.0
    """Of yours."""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"slop": 1.0}, "thing 'mine' has no 'slop'; did you mean 'slope'? allowed: slope"),
        ({"offset": 1.0}, "thing 'mine' has no 'offset'; yours has it; allowed: slope"),
        ({"slope": "steep"}, "thing 'mine': slope: expected a number (found 'steep')"),
    ],
)
def test_a_mistake_names_whose_setting_it_is_and_what_is_allowed(given, message):
    with pytest.raises(UnlearningError) as caught:
        validated_settings(Mine, given, owner="thing 'mine'", others={"mine": Mine, "yours": Yours})
    assert str(caught.value) == message


def test_what_is_not_given_has_its_default():
    assert validated_settings(Mine, {}, owner="", others={}) == Mine(slope=1.0)
