"""Reading rows of the ledger: a trial's method and settings, and numbers of which some were not measured."""

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from orchestrator.frontier.spreads import Row
from orchestrator.pareto import Numbers


def method_of(row: Row) -> str:
    """Return the name of a trial's method: objective and optimizer; for plain ascent, the optimizer alone."""
    plain = row["objective"] in (None, "gradient_ascent")
    return str(row["optimizer"]) if plain else f"{row['objective']} {row['optimizer']}"


def settings_of(row: Row) -> str:
    """Return the settings of a trial for readers; for a row of an older version, what its other columns tell."""
    known = row.get("settings")
    if known:
        return str(known)
    parts = [row["objective"] or "gradient_ascent", f"{row['optimizer']} lr={row['learning_rate']!r}"]
    return " · ".join([*parts, f"batch {row['batch_size']}"] if row.get("batch_size") else parts)


def setting_id_of(row: Row) -> str:
    """Return an id that is equal for trials of equal settings, whatever their forget set and seed."""
    return str(row.get("setting_id") or settings_of(row))


def columns(table: pa.Table, names: Sequence[str]) -> Numbers:
    """Return numeric columns of N rows as an array (N, names); null becomes NaN."""
    return np.stack([table.column(name).to_numpy().astype(np.float64) for name in names], axis=1)


def increase_over_base(value: float | None, base: Row | None, column: str) -> float | None:
    """Return how far a value is above the base model's; None: one of them was not measured."""
    start = None if base is None else base.get(column)
    return None if start is None or finite_or_none(value) is None else value - start


def finite_or_none(value: float | None) -> float | None:
    """Return a value, with None for one that is not finite."""
    return value if value is not None and math.isfinite(value) else None
