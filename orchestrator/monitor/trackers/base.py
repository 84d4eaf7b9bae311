"""The interface of a tracker, and what it gets: a trial as in the ledger now, and which of its evaluations are new."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from orchestrator.ledger import MAXIMISED, MINIMISED

SCALARS = tuple(name for name in (*MINIMISED, *MAXIMISED) if name != "step")
"""Columns of an evaluation that become curves over the step."""


@dataclass(frozen=True, kw_only=True)
class TrackedTrial:
    """One trial: its identity, its evaluations in step order, and how it ended."""

    trial_id: str
    sweep: str
    forget_set: str
    seed: int
    replicate: int
    stratum: str
    config: Mapping[str, Any]
    """The settings of the trial."""
    status: str | None
    """How the trial ended; None: it has not."""
    message: str | None
    started_at: datetime
    evaluations: Sequence[Mapping[str, Any]]
    """All rows that the ledger has now."""
    fresh: Sequence[Mapping[str, Any]]
    """Rows that this process has not written before. An earlier process may have."""

    @property
    def name(self) -> str:
        """A short name for readers: optimizer, learning rate, and the start of the id."""
        return f"{self.config['optimizer']} {self.config['learning_rate']:.2g} {self.trial_id[:8]}"


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of an evaluation, without those that were not measured."""
    return {name: row[name] for name in SCALARS if row[name] is not None}


class Tracker(Protocol):
    """Shows each trial as a run. The constructor takes where to write (the command's option) and the sweep's name."""

    where: str
    """Where the runs are, and how to view them."""

    def write(self, trial: TrackedTrial, /) -> None:
        """Bring the run of a trial up to date, without duplicating what an earlier process wrote.

        Raises:
            SweepError: the run cannot be written.
        """
