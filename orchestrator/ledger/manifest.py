"""``spec.yaml`` and ``sweep.json``: what a sweep is, and what each of its sessions ran on."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from orchestrator.driver import FencedStorage
from orchestrator.errors import IrregularFileError, SweepError
from orchestrator.ledger.layout import MANIFEST, SPEC
from orchestrator.yaml_text import text_of

DEEPEST = 64
"""Levels that ``sweep.json`` may have. A sweep writes half a dozen; what shows or compares them is recursive."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Reads and writes ``spec.yaml`` and ``sweep.json``. A sweep exists once its spec does."""

    fenced: FencedStorage
    skip: Callable[[str, str], None]
    """Takes note of a damaged file that is left out (its path and the reason), and warns of it."""

    def spec_text(self) -> str | None:
        """Read the resolved spec of the sweep; None where the sweep does not exist.

        Raises:
            SweepError: it is not text.
        """
        content = self.fenced.storage.read(SPEC)
        return text_of(content, self._place(SPEC)) if content is not None else None

    def read(self) -> dict[str, Any]:
        """Read ``sweep.json``; empty where there is none.

        Raises:
            SweepError: it is damaged.
        """
        content = self.fenced.storage.read(MANIFEST)
        try:
            return {} if content is None else parse_manifest(content)
        except ValueError as error:
            raise SweepError(
                f"{self._place(MANIFEST)}: {error}; put a copy back, or remove it and go on without what it said of "
                f"data, models and code"
            ) from None

    def read_if_sound(self) -> dict[str, Any]:
        """Read ``sweep.json`` to show it; empty, after a warning, where it is damaged."""
        try:
            return self.read()
        except (SweepError, IrregularFileError) as error:
            self.skip(MANIFEST, str(error).removeprefix(f"{self._place(MANIFEST)}: "))
            return {}

    def create(self, spec_text: str, facts: dict[str, Any], session: dict[str, Any]) -> None:
        """Write what the sweep is, and what its first session runs on.

        A sweep that goes on keeps its first session, and adds the new one to ``resumed``. The spec comes last in a new
        sweep, which exists once its spec does. In one that goes on it comes first: after a crash in between, the next
        session still finds what changed.
        """
        before = self.read() if self.spec_text() is not None else {}
        if before:
            facts = {**before, **facts, "resumed": [*before.get("resumed", []), session]}
        else:
            facts = {**facts, **session}
        files = {MANIFEST: _as_json(facts), SPEC: spec_text.encode()}
        for name in reversed(files) if before else files:
            self.fenced.publish(name, files[name])

    def describe(self, spec_text: str, facts: dict[str, Any]) -> None:
        """Write what the data has settled of a sweep that ``create`` wrote without it."""
        self.fenced.publish(MANIFEST, _as_json({**self.read(), **facts}))
        self.fenced.publish(SPEC, spec_text.encode())

    def withdraw(self) -> None:
        """Remove what ``create`` wrote, of a sweep that turned out to be impossible."""
        for name in (SPEC, MANIFEST):
            self.fenced.storage.remove(name)

    def note(self, facts: dict[str, Any]) -> None:
        """Add facts to the session that ``create`` wrote last."""
        manifest = self.read()
        ([manifest, *manifest.get("resumed", [])])[-1].update(facts)
        self.fenced.publish(MANIFEST, _as_json(manifest))

    def _place(self, name: str) -> str:
        return f"{self.fenced.storage.uri}/{name}"


def _moment(text: str) -> str:
    try:
        datetime.fromisoformat(text).astimezone()
    except OverflowError as error:
        raise ValueError(str(error)) from None
    return text


_Time = Annotated[str, AfterValidator(_moment)]


class _Lenient(BaseModel):
    """What commands rely on; the file may say more."""

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


class _PluginFile(_Lenient):
    file: str
    sha256: str
    provides: dict[str, list[str]]


class _PluginPackage(_Lenient):
    package: str
    version: str
    provides: dict[str, list[str]]


class _Session(_Lenient):
    started_at: _Time = ""
    packages: dict[str, str | None] = {}
    code: dict[str, Any] | None = None
    workers: list[_Worker] = []
    plugins: list[_PluginFile | _PluginPackage] = []


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
    """Parse ``sweep.json``.

    Raises:
        ValueError: it is not JSON, or not what this tool writes; the message says which part.
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


def _as_json(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, indent=2, sort_keys=True).encode() + b"\n"
