"""The identity of a trial: canonical JSON, content hashes and trial keys."""

import hashlib
import json
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """A forget set, a seed and a replicate: all combinations of them are crossed."""

    forget_set: str
    seed: int
    replicate: int = 0

    @classmethod
    def of(cls, trial: Trial) -> "Stratum":
        """Return the stratum of a trial."""
        return cls(forget_set=trial.forget_set, seed=trial.seed, replicate=trial.replicate)

    @property
    def name(self) -> str:
        """Its name in the ledger. A sweep without replicates has the first one, which is not named."""
        return f"{self.forget_set}/seed={self.seed}{f'/replicate={self.replicate}' if self.replicate else ''}"


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
            **({"replicate": trial.replicate} if trial.replicate else {}),
            "config": trial.config.identity(),
            "horizon": trial.horizon,
        }
    )[:16]
