from .assignments import Assignment
from .halving import Halving
from .journal import export_journal
from .sampling.finished_trials import finished_trial
from .sampling.listed_points import grid_points, trials_per_stratum
from .study_members import study_parts
from .sweep_search import SweepSearch

__all__ = [
    "Assignment",
    "Halving",
    "SweepSearch",
    "export_journal",
    "finished_trial",
    "grid_points",
    "study_parts",
    "trials_per_stratum",
]
