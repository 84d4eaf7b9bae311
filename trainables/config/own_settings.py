"""How settings of a single objective or optimizer are validated: each declares them by a ``Config`` class."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from trainables.config.base import COMPATS, Config
from trainables.config.validation import problems_in
from trainables.errors import UnlearningError, nearest_name_hint

Settings = TypeVar("Settings", bound=Config)


def validated_settings(
    settings: type[Settings], given: Mapping[str, Any], *, owner: str, others: Mapping[str, type[Config]]
) -> Settings:
    """Return all settings of an objective or an optimizer; those that are not given have their defaults.

    Args:
        settings: the class that declares them.
        given: values by name.
        owner: whose settings they are, as messages name it: ``optimizer 'adamw'``.
        others: the classes of everything else of its kind by name, to say where an unknown setting belongs.

    Raises:
        UnlearningError: a name is unknown (the message names who has it, the nearest and the allowed ones), or a value
            is not allowed.
    """
    for name in given:
        if name not in settings.model_fields:
            having = sorted(other for other, declared in others.items() if name in declared.model_fields)
            elsewhere = f"{', '.join(having)} {'has' if len(having) == 1 else 'have'} it; " if having else ""
            hint = nearest_name_hint(name, settings.model_fields)
            raise UnlearningError(f"{owner} has no '{name}'; {elsewhere}{hint}")
    try:
        return settings(**given)
    except ValidationError as error:
        raise UnlearningError(f"{owner}: {'; '.join(problems_in(error.errors()))}") from None


def require_compat(compat: str, name: str, *, kind: str, having: Mapping[str, frozenset[str]]) -> None:
    """Require that a project whose conventions are asked for is known, and has an entry.

    Args:
        compat: the project.
        name: of the entry.
        kind: what an entry is, as messages call it: ``objective``.
        having: the projects that have each entry, by its name.

    Raises:
        UnlearningError: the project is unknown, or has no such entry; the message names those that it has.
    """
    if compat not in COMPATS:
        raise UnlearningError(f"compat: unknown project '{compat}'; {nearest_name_hint(compat, COMPATS)}")
    if compat not in having[name]:
        others = ", ".join(sorted(other for other, projects in having.items() if compat in projects))
        raise UnlearningError(f"compat: {compat} has no {kind} '{name}'; it has {others}")
