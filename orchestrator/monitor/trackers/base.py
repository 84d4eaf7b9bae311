"""What a tracker is given: a trial as the ledger has it now, and which of its evaluations are new."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from orchestrator.ledger import MINIMISED

SCALARS = tuple(name for name in MINIMISED if name != "step")
"""Columns of an evaluation that become curves over its step."""


@dataclass(frozen=True, kw_only=True)
class TrackedTrial:
    """One trial: who it is, its evaluations in step order, and how it ended."""

    trial_id: str
    sweep: str
    forget_set: str
    seed: int
    stratum: str
    config: Mapping[str, Any]
    """Its settings."""
    status: str | None
    """None: it has not ended."""
    message: str | None
    started_at: datetime
    evaluations: Sequence[Mapping[str, Any]]
    """All rows of now."""
    fresh: Sequence[Mapping[str, Any]]
    """Those that this process has not given before. An earlier process may have."""

    @property
    def name(self) -> str:
        """Say what it is, in a few words."""
        return f"{self.config['optimizer']} {self.config['learning_rate']:.2g} {self.trial_id[:8]}"


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """Give the numbers of an evaluation, without those that were not measured."""
    return {name: row[name] for name in SCALARS if row[name] is not None}


class Tracker(Protocol):
    """Shows each trial as a run. It is made of where to write (what the command's option says) and the sweep's name."""

    where: str
    """Where the runs are, and how to look at them."""

    def write(self, trial: TrackedTrial, /) -> None:
        """Bring the trial's run up to date. What is there of an earlier process is not there twice afterwards.

        Raises:
            SweepError: it cannot be written there.
        """
