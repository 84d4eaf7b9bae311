from .assignments import Assignment
from .finished_trials import finished_trial
from .journal import export_journal
from .listed_points import grid_points, trials_per_stratum
from .rivals import TrialLedger
from .sweep_search import SweepSearch

__all__ = [
    "Assignment",
    "SweepSearch",
    "TrialLedger",
    "export_journal",
    "finished_trial",
    "grid_points",
    "trials_per_stratum",
]
