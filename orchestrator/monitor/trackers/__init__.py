"""Where evaluations can be looked at beside the ledger: one file a tracker, imported when it is asked for."""

from orchestrator.monitor.trackers.base import SCALARS, TrackedTrial, Tracker

__all__ = ["SCALARS", "TrackedTrial", "Tracker"]
