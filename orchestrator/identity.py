"""Who a trial is: canonical JSON, content hashes and trial keys."""

import hashlib
import json
from pathlib import Path
from typing import Any

from trainables.config import Config
from trainables.records import Trial

IDENTITY_VERSION = 1
"""Of what a trial's settings mean. It rises when the same settings come to give other numbers; a change of the ledger's
columns alone leaves it, so that the trials of older sweeps are known again."""

SETTINGS_OF_VERSION_1 = frozenset(
    {
        "objective",
        "objective_weights",
        "optimizer",
        "learning_rate",
        "momentum",
        "weight_decay",
        "clip_norm",
        "batch_size",
        "micro_batch_size",
        "schedule",
        "warmup_steps",
    }
)
"""Settings of a trial that are part of its identity whatever their value. A later one is only where it is not at its
default, which means what it meant before there was such a setting: so old trials keep their keys."""


def canonical_json(value: Any) -> str:
    """Write JSON with one spelling for equal values: sorted keys, no spaces, shortest floats, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def content_hash(value: Any) -> str:
    """Give the SHA-256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """Give the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stratum_name(forget_set: str, seed: int) -> str:
    """Name the stratum of a forget set and a seed."""
    return f"{forget_set}/seed={seed}"


def identifying(config: Config, always: frozenset[str] = SETTINGS_OF_VERSION_1) -> dict[str, Any]:
    """Give the settings that tell a configuration from others: those of ``always``, and others not at their default."""
    changed = config.model_dump(mode="json", exclude_defaults=True)
    return config.model_dump(mode="json", include=set(always)) | changed


def trial_key(trial: Trial, *, workload_hash: str) -> str:
    """Derive a trial's identity from its config, its data, its model and the identity version: 16 hex digits.

    How far the trajectory goes is no part of it, unless the schedule looks at the total: the rest is a prefix.
    """
    return content_hash(
        {
            "schema_version": IDENTITY_VERSION,
            "workload": workload_hash,
            "forget_set": trial.forget_set,
            "seed": trial.seed,
            "config": identifying(trial.config),
            "horizon": trial.horizon,
        }
    )[:16]
