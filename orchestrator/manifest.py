"""``sweep.json``, checked: what commands rely on in it. It may say more."""

import json
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError


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
    started_at: datetime | None = Field(default=None, strict=False)
    packages: dict[str, str | None] = {}
    code: dict[str, Any] | None = None
    workers: list[_Worker] = []


class _Manifest(_Session):
    models: dict[str, _Model] = {}
    resumed: list[_Session] = []


def parse_manifest(content: bytes) -> dict[str, Any]:
    """Read ``sweep.json``.

    Raises:
        ValueError: it is not JSON, or not what this tool writes; the message says what.
    """
    try:
        data = json.loads(content)
        _Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"not what a sweep writes: {place + ': ' if place else ''}{first['msg'].lower()}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON ({error})") from None
    return dict(data)
