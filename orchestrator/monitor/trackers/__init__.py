"""Trackers that show evaluations, one module each, imported on request: each needs a package of its own."""

from orchestrator.monitor.trackers.base import SCALARS, TrackedTrial, Tracker

__all__ = ["SCALARS", "TrackedTrial", "Tracker"]
