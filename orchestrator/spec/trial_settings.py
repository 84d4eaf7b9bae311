"""Whose a setting of the search space is: the trial's own, its objective's, or its optimizer's."""

from collections.abc import Mapping
from typing import Any

from search_spaces import Value
from trainables.config import TrialConfig
from trainables.errors import nearest_name_hint
from trainables.objectives import OBJECTIVES, Objective
from trainables.optim import OPTIMIZERS, OptimizerEntry

_INNER = {"objective": "objective_settings", "optimizer": "optimizer_settings"}
"""Fields of a ``TrialConfig`` that hold what belongs to its objective and its optimizer."""
_REGISTRIES: dict[str, Mapping[str, Objective | OptimizerEntry]] = {"objective": OBJECTIVES, "optimizer": OPTIMIZERS}
"""Where the settings of each are declared."""


def trial_fields(values: Mapping[str, Value]) -> dict[str, Any]:
    """Sort settings by name into the fields of a ``TrialConfig``.

    A name that objective and optimizer both have is written ``objective_beta1`` or ``optimizer_beta1``.

    Raises:
        ValueError: a setting belongs to neither the trial, its objective nor its optimizer, or to both of the latter.
    """
    known = set(TrialConfig.model_fields) - set(_INNER.values())
    fields: dict[str, Any] = {name: value for name, value in values.items() if name in known}
    chosen = {owner: str(values.get(owner, TrialConfig.model_fields[owner].default)) for owner in _REGISTRIES}
    owned = {
        owner: registry[chosen[owner]].own_settings if chosen[owner] in registry else frozenset()
        for owner, registry in _REGISTRIES.items()
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
            if not owners and all(chosen[owner] in registry for owner, registry in _REGISTRIES.items()):
                hint = _owners_elsewhere(name) or nearest_name_hint(name, known.union(*owned.values()))
                raise ValueError(f"search.space: unknown setting '{name}' {where}; {hint}")
            owner, setting = (owners or ["objective"])[0], name
        fields.setdefault(_INNER[owner], {})[setting] = values[name]
    return fields


def _owners_elsewhere(name: str) -> str | None:
    """Return which other objectives or optimizers have a setting, and where it then goes; None: none has it."""
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
