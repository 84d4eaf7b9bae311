from .ledger import BASELINES_FILE, DECISIONS, PREPARATION, SPEC, Ledger
from .schema import (
    BASELINES,
    EVALUATIONS,
    EXAMPLES,
    MINIMISED,
    OWN_KIND,
    RELATIVE_TO_REFERENCES,
    SCHEMA_VERSION,
    VIEWS,
    described,
    to_table,
    unit,
)
from .sweeps import DEFAULT_STORAGE, open_sweep, sweeps_in

__all__ = [
    "BASELINES",
    "BASELINES_FILE",
    "DECISIONS",
    "DEFAULT_STORAGE",
    "EVALUATIONS",
    "EXAMPLES",
    "MINIMISED",
    "OWN_KIND",
    "PREPARATION",
    "RELATIVE_TO_REFERENCES",
    "SCHEMA_VERSION",
    "SPEC",
    "VIEWS",
    "Ledger",
    "described",
    "open_sweep",
    "sweeps_in",
    "to_table",
    "unit",
]
