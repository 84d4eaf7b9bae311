"""From the settings of a search space to a trial's configuration: which are its own, which its objective's or its
optimizer's."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from search_spaces import Value
from trainables.config import TrialConfig, problems_in
from trainables.errors import nearest_name_hint
from trainables.objectives import OBJECTIVES, check_objective
from trainables.optim import OPTIMIZERS, check_optimizer

_INNER = {"objective": "objective_weights", "optimizer": "optimizer_settings"}
"""Fields of a ``TrialConfig`` that hold the settings of its objective and of its optimizer."""


def trial_config(values: dict[str, Value]) -> TrialConfig:
    """Return a trial's configuration, made from settings by name: its own, its objective's and its optimizer's.

    Raises:
        ValueError: an unknown setting, objective, optimizer or schedule, or a value that is not allowed.
    """
    fields = _trial_fields(values)
    try:
        config = TrialConfig.model_validate(fields)
        check_objective(config.objective, config.objective_weights, compat=config.compat)
        check_optimizer(config)
    except ValidationError as error:
        raise ValueError("; ".join(f"search.space.{problem}" for problem in problems_in(error.errors()))) from None
    except ValueError as error:
        raise ValueError(f"search.space: {error}") from None
    return config


def _trial_fields(values: Mapping[str, Value]) -> dict[str, Any]:
    """Return settings by name sorted into the fields of a ``TrialConfig``.

    A name that objective and optimizer both have is written ``objective_beta1`` or ``optimizer_beta1``.

    Raises:
        ValueError: neither trial, objective nor optimizer has such a setting, or two have it.
    """
    known = set(TrialConfig.model_fields) - set(_INNER.values())
    fields: dict[str, Any] = {name: value for name, value in values.items() if name in known}
    objective, optimizer = (str(values.get(name, TrialConfig.model_fields[name].default)) for name in _INNER)
    owned = {
        "objective": frozenset(OBJECTIVES[objective].weights) if objective in OBJECTIVES else frozenset(),
        "optimizer": OPTIMIZERS[optimizer].own_settings if optimizer in OPTIMIZERS else frozenset(),
    }
    where = f"(objective {objective}, optimizer {optimizer})"
    for name in (name for name in values if name not in known):
        owner, _, bare = name.partition("_")
        if owner not in owned or bare not in owned[owner]:
            owners = [owner for owner, names in owned.items() if name in names]
            if len(owners) > 1:
                raise ValueError(
                    f"search.space: objective and optimizer both have a '{name}' {where}; "
                    f"write objective_{name} or optimizer_{name}"
                )
            if not owners and objective in OBJECTIVES and optimizer in OPTIMIZERS:
                hint = _owners_elsewhere(name) or nearest_name_hint(
                    name, known | owned["objective"] | owned["optimizer"]
                )
                raise ValueError(f"search.space: unknown setting '{name}' {where}; {hint}")
            owner, bare = (owners or ["objective"])[0], name
        fields.setdefault(_INNER[owner], {})[bare] = values[name]
    return fields


def _owners_elsewhere(name: str) -> str | None:
    """Return a hint on which other objectives or optimizers have a setting, and where to write it; None: none has
    it."""
    found = {
        "objective": sorted(other for other, entry in OBJECTIVES.items() if name in entry.weights),
        "optimizer": sorted(other for other, entry in OPTIMIZERS.items() if name in entry.settings.model_fields),
    }
    said = [f"the {owner}{'s' * (len(names) != 1)} {', '.join(names)}" for owner, names in found.items() if names]
    if not said:
        return None
    owner, first = next((owner, names[0]) for owner, names in found.items() if names)
    return (
        f"it belongs to {' and '.join(said)}; give it under one of them: "
        f"{owner}: {{choices: {{{first}: {{{name}: ...}}}}}}"
    )
