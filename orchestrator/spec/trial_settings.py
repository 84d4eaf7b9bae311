"""Whose a setting of the search space is: the trial's own, its objective's, or its optimizer's."""

from collections.abc import Mapping
from typing import Any

from search_spaces import Value
from trainables.config import TrialConfig
from trainables.errors import nearest_name_hint
from trainables.objectives import OBJECTIVES
from trainables.optim import OPTIMIZERS

_INNER = {"objective": "objective_settings", "optimizer": "optimizer_settings"}
"""Fields of a ``TrialConfig`` that hold what belongs to its objective and its optimizer."""


def trial_fields(values: Mapping[str, Value]) -> dict[str, Any]:
    """Sort settings by name into the fields of a ``TrialConfig``.

    A name that objective and optimizer both have is written ``objective_beta1`` or ``optimizer_beta1``.

    Raises:
        ValueError: nobody has such a setting, or two have.
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
    """Say which other objectives or optimizers have a setting, and where it then stands; None: none has it."""
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
