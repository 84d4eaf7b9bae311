"""What pydantic finds wrong with a configuration, in the words of YAML."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from trainables.config.base import Config
from trainables.errors import nearest_name_hint

_EXPECTED = {
    "tuple_type": "a list", "list_type": "a list", "set_type": "a list",
    "dict_type": "a mapping",
    "int_type": "a whole number", "int_parsing": "a whole number", "int_from_float": "a whole number",
    "float_type": "a number", "float_parsing": "a number",
    "bool_type": "true or false", "bool_parsing": "true or false",
    "string_type": "a text",
    **dict.fromkeys(
        ("date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact"),
        "a date such as 2026-11-26",
    ),
}  # fmt: skip
"""What should have been there, by pydantic's type of the error."""
_MESSAGES = {
    "missing": "it is missing, and has no default",
    "model_type": "expected a mapping with keys {keys}",
    "literal_error": "expected {expected}",
    "too_short": "expected at least {min_length} in the list",
    "string_pattern_mismatch": "expected letters, digits, '_', '.' and '-', a letter or digit first",
    "string_too_short": "expected at least {min_length} characters",
    "string_too_long": "expected at most {max_length} characters",
}
_BRANCH = re.compile(r"\[key\]|built in|constrained-\w+|(literal|tuple|function-\w+)\[.*\]")
"""Parts of a place that are no keys: which of several allowed kinds was tried."""
_BRANCH_AFTER = {
    "own": ("source",),
    "str": ("objective_settings", "objective_weights", "columns"),
    "float": ("objective_settings", "objective_weights"),
}
"""The same, where it could be a key elsewhere."""


def problems_in(errors: Iterable[Mapping[str, Any]]) -> list[str]:
    """List what is wrong, each with its place, what is expected and what was found.

    Where a value may be of several kinds, pydantic names what is wrong with it as each of them: that is one problem.
    """
    by_place: dict[str, list[Mapping[str, Any]]] = {}
    for error in errors:
        by_place.setdefault(_place(error), []).append(error)
    return [f"{place}: {_said(group)}" if place else _said(group) for place, group in by_place.items()]


def _place(error: Mapping[str, Any]) -> str:
    parts = [str(part) for part in error["loc"]]
    kept = [part for i, part in enumerate(parts) if not _BRANCH.fullmatch(part) and not _is_branch(parts[:i], part)]
    return ".".join(kept)


def _is_branch(before: list[str], part: str) -> bool:
    return any(key in _BRANCH_AFTER.get(part, ()) for key in before[-2:])


def _said(errors: list[Mapping[str, Any]]) -> str:
    first = errors[0]
    messages = list(dict.fromkeys(map(_message, errors)))
    if first["type"] == "value_error":
        return "; ".join(messages)
    if first["type"] == "missing":
        return messages[0]
    wanted = " or ".join([messages[0], *(message.removeprefix("expected ") for message in messages[1:])])
    return f"{wanted} (found {_found(first.get('input'))}){_hint(errors)}"


def _message(error: Mapping[str, Any]) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}"
    if kind in _MESSAGES:
        return _MESSAGES[kind].format(keys=_keys(context.get("class_name")), **context)
    message = str(error["msg"]).removeprefix("Value error, ").replace("Input should be", "it must be")
    return message[0].lower() + message[1:]


def _keys(class_name: object) -> str:
    kinds, names = [Config], list[str]()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if kind.__name__ == class_name:
            names = list(kind.model_fields)
    return ", ".join(names)


def _found(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list" if value else "an empty list"
        case _:
            return repr(value)


def _hint(errors: list[Mapping[str, Any]]) -> str:
    """Suggest the nearest of the values that are allowed."""
    found = errors[0].get("input")
    allowed = [
        name for e in errors if e["type"] == "literal_error" for name in re.findall(r"'([^']*)'", e["ctx"]["expected"])
    ]
    hint = nearest_name_hint(found, allowed) if isinstance(found, str) and allowed else ""
    return f"; {hint.partition('?')[0]}?" if "?" in hint else ""
