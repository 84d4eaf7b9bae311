"""The differences between a sweep as it was started and as it would go on, and whether they are allowed.

There are four kinds: those that change no number (how many trials at once, how often to checkpoint), those that add to
the sweep (more trials, a longer step axis, more seeds, more replicates, buckets of forget sets), those after which old
and new rows cannot be compared (another space, model, data or identity version), and other code, after which most often
they can.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import LedgerWarning, SweepError
from orchestrator.spec.plugin_use import by_name
from orchestrator.spec.search_config import duration_s
from orchestrator.spec.sweep_spec import SweepSpec

_FREE = ("description", "checkpoint.", "resources.", "search.budget.", "stop.", "probes.")
"""Sections and settings that change no number ..."""
_NOT_FREE = (
    "resources.threads_per_trial", "resources.workers_per_trial", "resources.parallelism",
    "stop.max_heldout_nll_increase",
)  # fmt: skip
"""... except these, which change how numbers are rounded, or what counts as collapsed."""
_SAME_NUMBERS = ("identity_version", "data_hash", "models.", "tokens_hash", "replicates.")
"""Keys of ``sweep.json`` for the data and the models that the rows follow from; of further replicates, all keys."""
_MEANINGS = {"tokens_hash": " (the same data gives other tokens: another tokenizer, chat template or date)"}
"""Explanations of keys of ``sweep.json`` that no setting has."""
_MISSING = "nothing"


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The differences between two specs, one line each: where, what it was, what it is now."""

    free: tuple[str, ...]
    additions: tuple[str, ...]
    breaking: tuple[str, ...]
    code: tuple[str, ...] = ()
    """Other sources of the same identity version, or of plugins: most of their changes change no number."""

    def __bool__(self) -> bool:
        return bool(self.free or self.additions or self.breaking or self.code)

    def require_allowed(self, where: str, *, force: bool) -> None:
        """Refuse to mix rows that cannot be compared, unless forced, and warn of other code.

        Raises:
            SweepError: with every breaking difference.
        """
        if self.breaking and not force:
            lines = "\n".join(f"  {line}" for line in self.breaking)
            raise SweepError(
                f"{where}: the sweep was made with other settings, data or models:\n{lines}\n"
                f"put them back, or start another sweep (--name); with --force it goes on: the trials that ended stay "
                f"as they are, the rest runs as things are now, and sweep.json notes it"
            )
        for line in self.code:
            warnings.warn(
                f"{where}: {line}; new rows differ where it computes something else", LedgerWarning, stacklevel=2
            )


def compare(before: SweepSpec, now: SweepSpec, recorded: Mapping[str, Any], present: Mapping[str, Any]) -> Changes:
    """Return the differences between two specs, and between the data, models and code in ``sweep.json`` and the
    present."""
    free, additions, breaking = [], [], []
    same = {
        name
        for name in ("data_hash", "models")
        if recorded.get(name) not in (None, {}) and recorded[name] == present.get(name)
    }
    for path, old, new in _differences(before.model_dump(mode="json"), now.model_dump(mode="json")):
        line = f"{path}: was {old}, is {new}"
        if _adds(path, old, new):
            additions.append(line)
        elif _is_free(path) or _content_of(path) in same or _means_the_same(path, old, new, before):
            free.append(line)
        else:
            breaking.append(line)
    for path, old, new in _differences(recorded, present):
        if path.startswith(_SAME_NUMBERS) and old != _MISSING and _is_there(path, now):
            breaking.append(f"{path}{_MEANINGS.get(path, '')}: was {old}, is {new}")
    code = _code_difference(recorded.get("code") or {}, present.get("code") or {})
    code += plugin_differences(recorded.get("plugins") or [], present.get("plugins") or [])
    return Changes(free=tuple(free), additions=tuple(additions), breaking=tuple(breaking), code=tuple(code))


def _code_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    if "sources" not in before or all(before.get(key) == now.get(key) for key in ("version", "sources")):
        return []
    was, present = (
        f"version {code.get('version')}, commit {str(code.get('commit'))[:12]}, sources {str(code.get('sources'))[:12]}"
        for code in (before, now)
    )
    return [f"code of trials and search: was {was}, is {present}"]


def plugin_differences(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[str]:
    """Return what is of another plugin than before, or of another code of it, one line each.

    Args:
        before, now: as ``provenance.plugin_records`` returns them.
    """
    old, new = by_name(before), by_name(now)
    return [
        f"{kind} '{name}': was of {_plugin(old[kind, name])}, is of {_plugin(new[kind, name])}"
        for kind, name in sorted(old.keys() & new.keys())
        if any(old[kind, name].get(key) != new[kind, name].get(key) for key in ("sources", "package", "version"))
    ]


def _plugin(record: Mapping[str, Any]) -> str:
    sources = f"sources {str(record.get('sources'))[:12]}"
    if "file" in record:
        return f"the plugin file {record['file']}, SHA-256 {record['sha256'][:12]}, {sources}"
    return f"the package {record['package']} {record['version']}, {sources}"


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    old, new = _flat(before), _flat(now)
    pairs = [(path, old.get(path, _MISSING), new.get(path, _MISSING)) for path in sorted(old.keys() | new.keys())]
    return [(path, was, present) for path, was, present in pairs if was != present]


def _content_of(path: str) -> str | None:
    """Return the key of ``sweep.json`` that identifies the content at a path, which may be moved or respelled."""
    if path in ("model.pretrained", "model.references"):
        return "models"
    return "data_hash" if path.startswith("data.") and path.endswith("ource.path") else None


def _is_free(path: str) -> bool:
    return path.startswith(_FREE) and path not in _NOT_FREE


def _means_the_same(path: str, old: Any, new: Any, before: SweepSpec) -> bool:
    """Return whether two values mean the same of a sweep without replicates: studies across these are across seeds."""
    return path == "search.across" and before.replicates == 1 and {old, new} == {"seeds", "replicates"}


def _is_there(path: str, now: SweepSpec) -> bool:
    """Return whether a key of ``sweep.json`` is of a replicate that the sweep still has."""
    section, _, rest = path.partition(".")
    return section != "replicates" or rest.partition(".")[0] in map(str, range(now.replicates))


def _adds(path: str, old: Any, new: Any) -> bool:
    """Return whether the new value only adds to the old: more trials, a larger budget, a longer list. None is no
    limit."""
    if path in ("search.trials", "replicates") or path.startswith("search.budget."):
        return old is not None and (new is None or _amount(new) > _amount(old))
    if path.startswith("data.forget_sets.") and path.endswith(".buckets"):
        return isinstance(old, list) and isinstance(new, list) and set(old) <= set(new)
    return path in ("steps", "seeds") and isinstance(old, list) and list(new[: len(old)]) == old


def _amount(limit: float | str) -> float:
    return duration_s(limit) if isinstance(limit, str) else limit


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return every value by its path; lists are values."""
    found: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
