from .baselines import Baselines
from .driver_writer import DriverWriter
from .layout import BASELINES_FILE, DECISIONS, PREPARATION, SPEC
from .ledger import Ledger
from .repair import repair_ledger
from .schema import (
    BASELINES,
    EVALUATIONS,
    EXAMPLES,
    METRIC_COLUMNS,
    MINIMISED,
    OWN_KIND,
    RELATIVE_TO_REFERENCES,
    SCHEMA_VERSION,
    VIEWS,
    describe_columns,
    metric_row,
    to_table,
    unit,
)
from .sweeps import DEFAULT_STORAGE, open_sweep, sweeps_in
from .trial_writer import TrialWriter

__all__ = [
    "BASELINES",
    "BASELINES_FILE",
    "DECISIONS",
    "DEFAULT_STORAGE",
    "EVALUATIONS",
    "EXAMPLES",
    "METRIC_COLUMNS",
    "MINIMISED",
    "OWN_KIND",
    "PREPARATION",
    "RELATIVE_TO_REFERENCES",
    "SCHEMA_VERSION",
    "SPEC",
    "VIEWS",
    "Baselines",
    "DriverWriter",
    "Ledger",
    "TrialWriter",
    "describe_columns",
    "metric_row",
    "open_sweep",
    "repair_ledger",
    "sweeps_in",
    "to_table",
    "unit",
]
