"""What a key of a JSON Schema may hold, in words. References are named by the place where they are described."""

from collections.abc import Iterable, Mapping
from typing import Any

Schema = Mapping[str, Any]

_BOUNDS = {
    "exclusiveMinimum": "above {:g}",
    "minimum": "at least {:g}",
    "maximum": "at most {:g}",
    "exclusiveMaximum": "below {:g}",
}
_NAMED = {"boolean": "`true` or `false`", "null": "`null`", "integer": "whole number", "number": "number"}
_PLURALS = {"number": "numbers", "text": "texts", "name": "names", "mapping,": "mappings,"}


def kind_of(values: Schema, places: Mapping[str, str]) -> str:
    """Return what a key may hold: ``whole number above 0``, ```token` or `sequence```, ``list of texts``.

    Args:
        values: the schema of its values.
        places: where each definition of the schema is described.
    """
    branches = [*values.get("anyOf", ()), *values.get("oneOf", ())]
    if branches:
        left_out = {"type": "null"} if values.get("default", "") is None else None  # the default says it
        return _either(kind_of(branch, places) for branch in branches if branch != left_out)
    if "$ref" in values:
        return f"mapping, see `{places[values['$ref'].rpartition('/')[2]]}`"
    if "enum" in values or "const" in values:
        return _either(code(value) for value in values.get("enum", [values.get("const")]))
    if values["type"] == "array":
        return f"list of {_plural(kind_of(values['items'], places))}"
    return _mapping(values, places) if values["type"] == "object" else _scalar(values)


def code(value: Any) -> str:
    """Return a value as YAML writes it, as code of Markdown."""
    match value:
        case None:
            return "`null`"
        case bool():
            return f"`{str(value).lower()}`"
        case list():
            return f"`[{', '.join(map(str, value))}]`"
        case str() if value != value.strip() or not value:
            return f'`"{value}"`'
        case float():
            return f"`{value:.12g}`"
        case _:
            return f"`{value}`"


def _scalar(values: Schema) -> str:
    if values["type"] == "string":
        return "date" if values.get("format") == "date" else "name" if "pattern" in values else "text"
    bounds = [text.format(values[key]) for key, text in _BOUNDS.items() if key in values]
    return " ".join([_NAMED[values["type"]], " and ".join(bounds)]).strip()


def _either(kinds: Iterable[str]) -> str:
    *first, last = dict.fromkeys(kinds)
    return f"{', '.join(first)} or {last}" if first else last


def _plural(kind: str) -> str:
    words = kind.split(" ")
    return " ".join(_PLURALS.get(word, word) for word in words)


def _mapping(values: Schema, places: Mapping[str, str]) -> str:
    named = values.get("patternProperties")
    if named:
        return f"{kind_of(next(iter(named.values())), places)}, by name"
    if "propertyNames" in values:
        names, inner = values["propertyNames"], values["additionalProperties"]
        return f"mapping of {kind_of(names, places)} to {_plural(kind_of(inner, places))}"
    return "mapping"
