"""The identity of a trial: canonical JSON, content hashes and trial keys."""

import hashlib
import json
from pathlib import Path
from typing import Any

from trainables.records import Trial

IDENTITY_VERSION = 1
"""Version of what a trial's settings mean. It rises when the same settings lead to other numbers. A change of the
ledger's columns alone does not raise it, so that the trials of older sweeps keep their ids."""


def canonical_json(value: Any) -> str:
    """Return JSON with one spelling for equal values: sorted keys, no spaces, shortest floats, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def content_hash(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stratum_name(forget_set: str, seed: int) -> str:
    """Return the name of the stratum of a forget set and a seed."""
    return f"{forget_set}/seed={seed}"


def trial_key(trial: Trial, *, workload_hash: str) -> str:
    """Return a trial's id, 16 hex digits, from its config, its data, its model and the identity version.

    The last step is not part of it, unless the schedule depends on it: a shorter trial is a prefix of a longer one.
    """
    return content_hash(
        {
            "schema_version": IDENTITY_VERSION,
            "workload": workload_hash,
            "forget_set": trial.forget_set,
            "seed": trial.seed,
            "config": trial.config.identity(),
            "horizon": trial.horizon,
        }
    )[:16]
