from .baselines import Baselines, mean_row
from .driver_writer import DriverWriter
from .failed_tasks import add_failed_task, failed_tasks_logged
from .layout import BASELINES_FILE, DECISIONS, PREPARATION, PROBING, PROFILES, SPEC
from .ledger import Ledger
from .probe_writer import ProbeWriter
from .repair import repair_ledger, repair_probes
from .schema import (
    BASELINES,
    EVALUATIONS,
    EXAMPLES,
    MAXIMISED,
    METRIC_COLUMNS,
    MINIMISED,
    OWN_KIND,
    RELATIVE_TO_REFERENCES,
    SCHEMA_VERSION,
    VIEWS,
    describe_columns,
    unit,
)
from .sweeps import DEFAULT_STORAGE, open_sweep, sweeps_in
from .tables.rows import metric_row, to_table
from .trial_writer import TrialWriter

__all__ = [
    "BASELINES",
    "BASELINES_FILE",
    "DECISIONS",
    "DEFAULT_STORAGE",
    "EVALUATIONS",
    "EXAMPLES",
    "MAXIMISED",
    "METRIC_COLUMNS",
    "MINIMISED",
    "OWN_KIND",
    "PREPARATION",
    "PROBING",
    "PROFILES",
    "RELATIVE_TO_REFERENCES",
    "SCHEMA_VERSION",
    "SPEC",
    "VIEWS",
    "Baselines",
    "DriverWriter",
    "Ledger",
    "ProbeWriter",
    "TrialWriter",
    "add_failed_task",
    "describe_columns",
    "failed_tasks_logged",
    "mean_row",
    "metric_row",
    "open_sweep",
    "repair_ledger",
    "repair_probes",
    "sweeps_in",
    "to_table",
    "unit",
]
