"""Reads a search space from plain data (of YAML), and the specs that ship with the package.

learning_rate: {low: 1.0e-5, high: 1.0e-3, log: true}     # a range (integers make an integer range)
batch_size: [8, 16]                                        # one of several values
objective: gradient_ascent                                 # fixed
optimizer:                                                 # one of several, each with its own settings
  choices:
    sgd: {learning_rate: {low: 1.0e-3, high: 1.0e-1, log: true}, clip_norm: 1.0}
    adamw: {learning_rate: {low: 1.0e-5, high: 3.0e-4, log: true}}
"""

import difflib
from importlib import resources
from typing import Any

from search_spaces.dimensions import Choice, Dimension, Fixed, Integer, Real, Space, SpaceError, Value

_RANGE_KEYS = ("low", "high", "log", "grid_points")


def parse_space(data: object, where: str = "space") -> Space:
    """Return the space that plain data (a mapping of names to dimensions) describes.

    Raises:
        SpaceError: with the place, what was found and what is allowed.
    """
    if not isinstance(data, dict):
        raise SpaceError(f"{where}: expected a mapping of names to dimensions, found {_show(data)}")
    return Space({str(name): _dimension(value, f"{where}.{name}") for name, value in data.items()})


def _dimension(data: object, where: str) -> Dimension:
    try:
        if isinstance(data, list):
            return Choice(options=tuple((_scalar(value, where), Space()) for value in data))
        if not isinstance(data, dict):
            return Fixed(value=_scalar(data, where))
        if "choices" in data:
            _only(data, ("choices",), where)
            return _choices(data["choices"], where)
        return _range(data, where)
    except SpaceError as error:
        message = str(error)
        raise SpaceError(message if message.startswith(where) else f"{where}: {message}") from None


def _choices(data: object, where: str) -> Choice:
    if isinstance(data, list):
        data = dict.fromkeys(data)
    if not isinstance(data, dict):
        raise SpaceError(f"{where}.choices: expected values, each with its own settings, found {_show(data)}")
    return Choice(
        options=tuple(
            (_scalar(value, where), parse_space(inside or {}, f"{where}.choices.{value}"))
            for value, inside in data.items()
        )
    )


def _range(data: dict[Any, Any], where: str) -> Real | Integer:
    _only(data, _RANGE_KEYS, where)
    missing = [key for key in ("low", "high") if key not in data]
    if missing:
        raise SpaceError(f"{where}: a range needs 'low' and 'high'; missing {', '.join(missing)}")
    for key in ("low", "high"):
        if isinstance(data[key], bool) or not isinstance(data[key], int | float):
            raise SpaceError(f"{where}.{key}: expected a number, found {_show(data[key])}{_exponent_hint(data[key])}")
    if not isinstance(data.get("log", False), bool):
        raise SpaceError(f"{where}.log: expected true or false, found {_show(data['log'])}")
    if isinstance(data["low"], int) and isinstance(data["high"], int) and "grid_points" not in data:
        return Integer(low=data["low"], high=data["high"], log=data.get("log", False))
    points = data.get("grid_points")
    if points is not None and (isinstance(points, bool) or not isinstance(points, int)):
        raise SpaceError(f"{where}.grid_points: expected an integer, found {_show(points)}")
    return Real(low=float(data["low"]), high=float(data["high"]), log=data.get("log", False), grid_points=points)


def _scalar(data: object, where: str) -> Value:
    if data is None or isinstance(data, str | int | float | bool):
        return data
    raise SpaceError(f"{where}: expected a single value, found {_show(data)}")


def _only(data: dict[Any, Any], allowed: tuple[str, ...], where: str) -> None:
    for key in data:
        if key not in allowed:
            close = difflib.get_close_matches(str(key), allowed, n=1)
            suggestion = f"did you mean '{close[0]}'? " if close else ""
            raise SpaceError(f"{where}: unknown key '{key}'; {suggestion}allowed: {', '.join(allowed)}")


def _exponent_hint(data: object) -> str:
    """Return a hint where YAML 1.1 has read a number such as 1e-5 as text; else nothing."""
    try:
        return f" (YAML reads it as text; write {float(data):.1e})" if isinstance(data, str) else ""
    except ValueError:
        return ""


_KINDS = {str: "the text", list: "the list", dict: "the mapping", bool: "", int: "", float: ""}
"""What YAML calls a value, by its type in Python."""


def _show(data: object) -> str:
    if data is None or isinstance(data, bool):
        return {None: "nothing", True: "true", False: "false"}[data]
    return f"{_KINDS.get(type(data), '')} {data!r}".strip()


def shipped_specs() -> dict[str, str]:
    """Return the text of every sweep spec that ships with the package, by name."""
    folder = resources.files("search_spaces")
    return {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    }
