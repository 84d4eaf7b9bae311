"""The content of ``sweep.json``: with which data, models, code and machines a sweep was run."""

import json
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import distribution, distributions, version
from pathlib import Path
from typing import Any

from orchestrator.identity import IDENTITY_VERSION, content_hash
from orchestrator.ledger import SCHEMA_VERSION
from orchestrator.preparation.code_fingerprint import source_hash, text_hash
from orchestrator.preparation.tasks import ModelTask
from orchestrator.spec import SweepSpec, registered_names
from trainables.data import Datasets
from trainables.plugins import PackageEntry


def outline(spec: SweepSpec) -> dict[str, Any]:
    """Return the part of a sweep's description that its spec alone determines."""
    return {
        "sweep": spec.name,
        "schema_version": SCHEMA_VERSION,
        "identity_version": IDENTITY_VERSION,
        "spec_hash": content_hash(spec.identity()),
        "seeds": {
            "data": spec.data.seed,
            "preparation": spec.preparation.seed,
            "search": spec.search.seed,
            "strata": list(spec.seeds),
        },
        "threads_per_trial": spec.resources.threads_per_trial,
    }


def facts(datasets: Datasets, tasks: list[ModelTask], *, workload: str) -> dict[str, Any]:
    """Return the description of the data and the models of a replicate."""
    return {
        "workload_hash": workload,
        "data_hash": datasets.content_hash(),
        "models": {task.role: {"key": task.key, "seed": task.seed} for task in tasks},
    }


def facts_of(recorded: Mapping[str, Any], replicate: int) -> dict[str, Any]:
    """Return ``sweep.json`` as it says of a sweep whose only replicate is this one."""
    own = recorded.get("replicates", {}).get(str(replicate), {})
    return {name: value for name, value in {**recorded, **own}.items() if name != "replicates"}


def session(spec: SweepSpec, workers: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the description of one run of this code: its time, machines, versions, and plugins if there are any.

    Args:
        spec: of the sweep.
        workers: the ``hardware`` of every machine that trials may run on; empty while it is not known.
    """
    plugins = plugin_records(spec)
    return {
        "started_at": datetime.now(UTC).isoformat(),
        "packages": package_versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "code": code_state(),
        "workers": workers,
        **({"plugins": plugins} if plugins else {}),
    }


def plugin_records(spec: SweepSpec) -> list[dict[str, Any]]:
    """Return the plugin files of a spec, and the packages that it takes entries from, each with what it provides.

    ``sources`` is the hash of what their code computes, as of ours: it is what tells whether one has changed. Of a
    package, that is the module which its entry points name.
    """
    files: list[dict[str, Any]] = [
        {"file": file.name, "sha256": file.sha256, "sources": text_hash([file.source]), "provides": file.provides}
        for file in spec.plugins
    ]
    packages: dict[str, dict[str, Any]] = {}
    sources: dict[str, set[bytes]] = {}
    for registry, names in registered_names(spec):
        for name in names:
            registry[name]  # of a package, the origin is known once it is loaded
            origin = registry.origin(name)
            if isinstance(origin, PackageEntry):
                record = {"package": origin.package, "version": origin.version, "provides": {}}
                provides = packages.setdefault(origin.package, record)["provides"]
                provides.setdefault(registry.kind, []).append(name)
                sources.setdefault(origin.package, set()).add(origin.source() or b"")
    return files + [{**record, "sources": text_hash(sources[name])} for name, record in packages.items()]


@cache
def code_state() -> dict[str, Any]:
    """Return the description of this code: version, origin, and a hash of sources that decide numbers and proposals.

    It is found out once a process: a resumed sweep needs it twice, and it takes git and every source.

    Commit and dirty flag are those of the checkout that the code runs from. An installed package has the commit that it
    was installed from, if that is known.
    """
    folder = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD") if git("ls-files", "--error-unmatch", Path(__file__).name) else None
    return {
        "version": version("unlearn-sweep"),
        "sources": source_hash(),
        "commit": commit or _installed_commit(),
        "dirty": bool(git("status", "--porcelain")) if commit else None,
    }


def _installed_commit() -> str | None:
    """Return the commit that the package was installed from (PEP 610); None: not known."""
    direct_url = json.loads(distribution("unlearn-sweep").read_text("direct_url.json") or "{}")
    commit: str | None = direct_url.get("vcs_info", {}).get("commit_id")
    return commit


def last_session(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last run of this code that ``sweep.json`` lists: see ``session``."""
    return dict(([recorded, *recorded.get("resumed", [])])[-1])


def version_notes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return a note on each package that numbers depend on and whose version has changed. Last digits may differ."""
    return [
        f"{name} was {before[name]}, is {now.get(name, 'missing')}"
        for name in ("torch", "transformers", "tokenizers", "accelerate", "numpy", "scipy", "optuna", "cmaes")
        if name in before and before[name] != now.get(name)
    ]


def package_versions() -> dict[str, str]:
    """Return the version of every installed package by name."""
    return {dist.name: dist.version for dist in sorted(distributions(), key=lambda dist: dist.name.lower())}
