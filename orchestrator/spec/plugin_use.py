"""What a spec takes from registries that plugins add to, and whether it is there."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.spec.sweep_spec import SweepSpec
from trainables.metrics import METRICS
from trainables.objectives import OBJECTIVES
from trainables.plugins import Registry


def registered_names(spec: SweepSpec) -> list[tuple[Registry[Any], list[str]]]:
    """Return the registries that plugins add to, each with the names in it that a spec takes, sorted."""
    return [
        (OBJECTIVES, sorted({config.objective for config in spec.corner_configs})),
        (METRICS, sorted(spec.evaluation.metrics or ())),
    ]


def last_plugins(recorded: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the plugins of the last session that ``sweep.json`` lists: see ``provenance.plugin_records``."""
    return list([recorded, *recorded.get("resumed", [])][-1].get("plugins", []))


def by_name(records: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return, by kind of registry and name, the plugin that provides it."""
    return {(kind, name): record for record in records for kind, names in record["provides"].items() for name in names}


def require_plugins(spec: SweepSpec, ledger: Ledger) -> None:
    """Make sure that what a stored spec takes from plugins is here.

    Raises:
        SweepError: with each name that is missing, and how to provide it.
    """
    missing = [
        (registry.kind, name) for registry, names in registered_names(spec) for name in names if name not in registry
    ]
    lines = list(_what_to_do(missing, ledger)) if missing else []
    if lines:
        raise SweepError(f"{ledger.storage.uri}: the sweep takes from plugins what is not here\n" + "\n".join(lines))


def _what_to_do(missing: list[tuple[str, str]], ledger: Ledger) -> Iterator[str]:
    """Yield a line for each name that a recorded plugin provided; of others, validation says that they are unknown."""
    providing = by_name(last_plugins(ledger.manifest.read()))
    for kind, name in missing:
        record = providing.get((kind, name))
        if record is not None and "file" in record:
            file, sha256 = record["file"], record["sha256"]
            yield (
                f"  {kind} '{name}' is of the plugin file '{file}' (SHA-256 {sha256}). A sweep does not keep it, so "
                f"that a sweep from elsewhere runs no code: if you have the file and trust it, add --plugin "
                f"{shlex.quote(file)}"
            )
        elif record is not None:
            yield f"  {kind} '{name}' is of the package {record['package']} {record['version']}; install it"
