"""``sweep.json``, checked: what commands rely on in it. It may say more."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

DEEPEST = 64
"""Levels; its own use half a dozen. Who shows it, or compares it, goes down level by level."""


def _moment(text: str) -> str:
    try:
        datetime.fromisoformat(text).astimezone()
    except OverflowError as error:
        raise ValueError(str(error)) from None
    return text


_Time = Annotated[str, AfterValidator(_moment)]


class _Lenient(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class _Gpu(_Lenient):
    name: str


class _Worker(_Lenient):
    host: str
    cpu: str
    cpus: int | None
    memory: float
    gpus: list[_Gpu]


class _Model(_Lenient):
    key: str


class _Session(_Lenient):
    started_at: _Time = ""
    packages: dict[str, str | None] = {}
    code: dict[str, Any] | None = None
    workers: list[_Worker] = []


class _Manifest(_Session):
    models: dict[str, _Model] = {}
    resumed: list[_Session] = []


def _require_shallow(data: dict[str, Any]) -> None:
    level: list[Any] = [data]
    for _ in range(DEEPEST):
        level = [inner for value in level if isinstance(value, dict | list) for inner in _values(value)]
    if level:
        raise ValueError(f"nested deeper than {DEEPEST} levels")


def _values(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def parse_manifest(content: bytes) -> dict[str, Any]:
    """Read ``sweep.json``.

    Raises:
        ValueError: it is not JSON, or not what this tool writes; the message says what.
    """
    try:
        data = json.loads(content)
        _Manifest.model_validate(data)
        _require_shallow(data)
        json.dumps(data, ensure_ascii=False).encode()  # JSON's escapes can say characters that no text has
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"not what a sweep writes: {place + ': ' if place else ''}{first['msg'].lower()}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON ({error})") from None
    return dict(data)
