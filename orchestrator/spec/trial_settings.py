"""From the settings of a search space to a trial's configuration: which are its own, which its objective's or its
optimizer's."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from search_spaces import Value
from trainables.config import TrialConfig, problems_in
from trainables.errors import nearest_name_hint
from trainables.objectives import OBJECTIVES, Objective, check_objective
from trainables.optim import OPTIMIZERS, OptimizerEntry, check_optimizer

_INNER = {"objective": "objective_settings", "optimizer": "optimizer_settings"}
"""Fields of a ``TrialConfig`` that hold the settings of its objective and of its optimizer."""
_Registries = Mapping[str, Mapping[str, Objective | OptimizerEntry]]
"""Where the settings of each are declared."""
_REGISTRIES: _Registries = {"objective": OBJECTIVES, "optimizer": OPTIMIZERS}
_SHIPPED: _Registries = {"objective": OBJECTIVES.shipped, "optimizer": OPTIMIZERS}


def trial_config(values: dict[str, Value], *, as_recorded: bool = False) -> TrialConfig:
    """Return a trial's configuration, made from settings by name: its own, its objective's and its optimizer's.

    Args:
        values: the settings.
        as_recorded: whether they are of a sweep whose results are read. Then objectives that this project does not
            ship are not looked up: reading needs no plugin, and runs none.

    Raises:
        ValueError: an unknown setting, objective, optimizer or schedule, or a value that is not allowed.
    """
    registries = _SHIPPED if as_recorded else _REGISTRIES
    fields = _trial_fields(values, registries)
    try:
        config = TrialConfig.model_validate(fields)
        if config.objective in registries["objective"] or not as_recorded:
            check_objective(config.objective, config.objective_settings, compat=config.compat)
        check_optimizer(config)
    except ValidationError as error:
        raise ValueError("; ".join(f"search.space.{problem}" for problem in problems_in(error.errors()))) from None
    except ValueError as error:
        raise ValueError(f"search.space: {error}") from None
    return config


def _trial_fields(values: Mapping[str, Value], registries: _Registries) -> dict[str, Any]:
    """Return settings by name sorted into the fields of a ``TrialConfig``.

    A name that objective and optimizer both have is written ``objective_beta1`` or ``optimizer_beta1``.

    Raises:
        ValueError: neither trial, objective nor optimizer has such a setting, or two have it.
    """
    known = set(TrialConfig.model_fields) - set(_INNER.values())
    fields: dict[str, Any] = {name: value for name, value in values.items() if name in known}
    chosen = {owner: str(values.get(owner, TrialConfig.model_fields[owner].default)) for owner in registries}
    owned = {
        owner: registry[chosen[owner]].own_settings if chosen[owner] in registry else frozenset()
        for owner, registry in registries.items()
    }
    where = f"({', '.join(f'{owner} {name}' for owner, name in chosen.items())})"
    for name in (name for name in values if name not in known):
        owner, _, setting = name.partition("_")
        if owner not in owned or setting not in owned[owner]:
            owners = [owner for owner, names in owned.items() if name in names]
            if len(owners) > 1:
                raise ValueError(
                    f"search.space: objective and optimizer both have a '{name}' {where}; "
                    f"write objective_{name} or optimizer_{name}"
                )
            if not owners and all(chosen[owner] in registry for owner, registry in registries.items()):
                hint = _owners_elsewhere(name) or nearest_name_hint(name, known.union(*owned.values()))
                raise ValueError(f"search.space: unknown setting '{name}' {where}; {hint}")
            owner, setting = (owners or ["objective"])[0], name
        fields.setdefault(_INNER[owner], {})[setting] = values[name]
    return fields


def _owners_elsewhere(name: str) -> str | None:
    """Return a hint on which other objectives or optimizers have a setting, and where to write it; None: none has
    it."""
    found = {
        owner: sorted(other for other, entry in registry.items() if name in entry.settings.model_fields)
        for owner, registry in _REGISTRIES.items()
    }
    said = [f"the {owner}{'s' * (len(names) != 1)} {', '.join(names)}" for owner, names in found.items() if names]
    if not said:
        return None
    owner, first = next((owner, names[0]) for owner, names in found.items() if names)
    return (
        f"it belongs to {' and '.join(said)}; give it under one of them: "
        f"{owner}: {{choices: {{{first}: {{{name}: ...}}}}}}"
    )
