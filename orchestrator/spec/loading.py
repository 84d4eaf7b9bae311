"""Reads specs from YAML files and ledgers, applies ``--set`` overrides, and writes specs as YAML."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from orchestrator.errors import SweepError
from orchestrator.ledger import SPEC, Ledger
from orchestrator.spec.contradictions import require_no_contradiction
from orchestrator.spec.plugin_use import require_plugins
from orchestrator.spec.spec_paths import with_absolute_paths
from orchestrator.spec.sweep_spec import RECORDED, SweepSpec
from orchestrator.storage import require_no_secret
from orchestrator.yaml_text import parse_yaml, parse_yaml_value
from search_spaces import shipped_specs
from trainables.config import problems_in
from trainables.plugins import PluginFile

_NO_SECRETS = "a spec is kept with its sweep: give the secret by the environment (HF_TOKEN), or fetch the file first"


def load_spec(
    source: str | Path | None = None, *, overrides: tuple[str, ...] = (), name: str | None = None
) -> SweepSpec:
    """Return the spec of a YAML file, or a shipped spec.

    Relative paths in the spec and in the overrides start from the current folder, and come back absolute.

    Args:
        source: path of the file, or name of a shipped spec; None: the demo.
        overrides: each is ``key.path=value``, the value in YAML.
        name: replaces the spec's own name of the sweep.

    Raises:
        SweepError: the file, its YAML, a key or a value is wrong.
    """
    text, where = _read(str(source) if source is not None else "demo")
    require_no_secret(text, where, _NO_SECRETS)
    data = parse_yaml(text, where)
    for override in overrides:
        _override(data, override)
    if name is not None:
        data["name"] = name
    spec = with_absolute_paths(validate_spec(data, where))
    require_no_contradiction(spec.model, spec.space, where)
    return spec


def amend_spec(spec: SweepSpec, overrides: Sequence[str]) -> SweepSpec:
    """Return a spec with settings changed, each ``key.path=value``. Relative paths start from the current folder.

    Raises:
        SweepError: a key or a value is wrong.
    """
    data = spec.model_dump(mode="json")
    for override in overrides:
        _override(data, override)
    amended = validate_spec(data, f"sweep '{spec.name}' with {', '.join(overrides) or 'its own spec'}")
    return with_absolute_paths(amended).with_plugins(spec.plugins)


def validate_spec(data: object, where: str, *, as_recorded: bool = False) -> SweepSpec:
    """Return the spec that plain data describes.

    Args:
        data: the spec.
        where: it was read from.
        as_recorded: whether it may name what only plugins provide, which is not looked up.

    Raises:
        SweepError: with every problem and its place.
    """
    try:
        return SweepSpec.model_validate(data, context=RECORDED if as_recorded else None)
    except ValidationError as error:
        lines = "\n".join(f"  {problem}" for problem in problems_in(error.errors()))
        raise SweepError(f"{where}: not a valid sweep spec\n{lines}") from None


def stored_spec(ledger: Ledger) -> SweepSpec:
    """Return the resolved spec of a sweep, read from its ledger to show its results: it needs and runs no plugin."""
    return _stored(ledger, as_recorded=True)


def stored_spec_to_run(ledger: Ledger, plugins: tuple[PluginFile, ...] = ()) -> SweepSpec:
    """Return the resolved spec of a sweep, read from its ledger to go on with it, or to rebuild a model of it.

    Args:
        ledger: of the sweep.
        plugins: files that were given on the command line, and run.

    Raises:
        SweepError: it names what a plugin provides that was not given, or is not installed.
    """
    require_plugins(stored_spec(ledger), ledger)
    return _stored(ledger, as_recorded=False).with_plugins(plugins)


def _stored(ledger: Ledger, *, as_recorded: bool) -> SweepSpec:
    where = f"{ledger.storage.uri}/{SPEC}"
    data = parse_yaml(ledger.manifest.spec_text() or "", where)
    if isinstance(data, dict) and isinstance(data.get("search"), dict):
        data["search"].setdefault("across", "each")  # how sweeps were searched before there was the key
    return validate_spec(data, where, as_recorded=as_recorded)


def dump_spec(spec: SweepSpec, *, every_default: bool = True) -> str:
    """Return the spec as YAML, which ``load_spec`` reads back equal.

    Args:
        spec: the spec.
        every_default: whether defaults are written too. If not, those that follow the data stay open.
    """
    data = spec.model_dump(mode="json", exclude_unset=not every_default)
    data["search"]["across"] = spec.search.across  # its default in a stored spec differs from that in a new one
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _read(source: str) -> tuple[str, str]:
    shipped = shipped_specs()
    if source in shipped:
        return shipped[source], f"shipped spec '{source}'"
    path = Path(source)
    try:
        return path.read_text(encoding="utf-8"), source
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SweepError(
            f"spec '{source}': {reason}; give a YAML file or the name of a shipped spec ({', '.join(sorted(shipped))})"
        ) from None


def _override(data: dict[str, Any], override: str) -> None:
    require_no_secret(override, "--set", _NO_SECRETS)
    path, separator, text = override.partition("=")
    keys = path.split(".")
    if not separator or not all(keys):
        raise SweepError(f"--set '{override}': expected key.path=value, for example --set search.trials=12")
    place: Any = data
    for depth, key in enumerate(keys[:-1]):
        if place.get(key) is None:  # a section that is left out by default
            place[key] = {}
        place = place[key]
        if not isinstance(place, dict):
            raise SweepError(f"--set '{override}': '{'.'.join(keys[: depth + 1])}' is a value and has no keys inside")
    place[keys[-1]] = parse_yaml_value(text, f"--set '{override}': the value")
