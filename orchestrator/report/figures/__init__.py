"""The figures of a report, one module each, from data to Vega-Lite charts. Nothing is read or written here."""

from orchestrator.report.figures.claims import claims_figure
from orchestrator.report.figures.examples import examples_figure
from orchestrator.report.figures.frontiers import frontier_figure
from orchestrator.report.figures.heatmaps import heatmap_figure
from orchestrator.report.figures.importance_bars import importance_figure
from orchestrator.report.figures.trajectories import trajectory_figure

__all__ = [
    "claims_figure",
    "examples_figure",
    "frontier_figure",
    "heatmap_figure",
    "importance_figure",
    "trajectory_figure",
]
