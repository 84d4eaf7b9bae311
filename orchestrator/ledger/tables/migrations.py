"""Migrations of rows from older schema versions to the present one."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.ledger.schema import (
    BASELINES,
    EVALUATIONS,
    EXAMPLE_METRIC_COLUMNS,
    EXAMPLES,
    EXAMPLES_WHO,
    METRIC_COLUMNS,
    OTHER_METRICS,
    OWN_KIND,
    PROBES,
    REAL,
    RELATIVE_TO_REFERENCES,
    SCHEMA_VERSION,
    SETTING,
    TEXT,
    WHOLE,
    noted_trial,
)
from orchestrator.ledger.trial_setting import setting_of
from trainables.records import TIMES

FindTrial = Callable[[str], Mapping[str, Any] | None]
"""Returns a trial's row by its id; None where there is none."""


def migrate(name: str, table: pa.Table, version: int, *, find_trial: FindTrial) -> pa.Table:
    """Return rows of an older schema version with the columns of the present one.

    Args:
        name: of the table.
        table: rows as they were written.
        version: that they were written in.
        find_trial: returns a trial's row by id; None where there is none.
    """
    if name == "probes" and version < SCHEMA_VERSION:  # their columns follow from those of the evaluations
        table = _in_first_replicate(table, version)
        missing = [column for column in PROBES if column.name not in table.column_names]
        table = _inserted(table, {column.name: pa.nulls(len(table), column.type) for column in missing}, after="scores")
        return table.select(PROBES.names)
    if version < 2 and name == "examples":
        found = {trial_id: find_trial(trial_id) or {} for trial_id in table["trial_id"].unique().to_pylist()}
        for column in (column for column in EXAMPLES_WHO if column != "replicate"):
            values = [found[trial_id].get(column) for trial_id in table["trial_id"].to_pylist()]
            table = table.append_column(column, pa.array(values, type=EXAMPLES.field(column).type))
    if version < 3 and name == "baselines":
        for column in ("bleu", "chrf"):
            table = table.append_column(column, pa.nulls(len(table), BASELINES.field(column).type))
    if version < 3 and name == "forget_sets":
        table = table.append_column("repetitions", pa.nulls(len(table), WHOLE))
    if version < 4 and name in ("evaluations", "baselines"):
        table = _inserted(table, {column: pa.nulls(len(table), REAL) for column in OWN_KIND}, after="performance")
    if version < 4 and name == "baselines":
        table = _without_own_floor(table)
    if version < 5 and name in ("trials", "evaluations"):
        rows = _settings_of_trials(table) if name == "trials" else _settings_of_evaluations(table, find_trial)
        settings = {column: pa.array([row.get(column) for row in rows], TEXT) for column in SETTING}
        table = _inserted(table, settings, after="batch_size")
    if version < 6 and name in ("evaluations", "baselines"):
        table = _inserted(table, _nulls(EVALUATIONS, METRIC_COLUMNS, len(table)), after="distractor_nll")
    if version < 6 and name == "examples":
        table = _inserted(table, _nulls(EXAMPLES, EXAMPLE_METRIC_COLUMNS, len(table)), after="difficulty")
    if version < 8 and name == "trials":
        table = _inserted(table, {column: pa.nulls(len(table), REAL) for column in TIMES}, after="elapsed_s")
    return _in_first_replicate(table, version)


def _in_first_replicate(table: pa.Table, version: int) -> pa.Table:
    """Return the table with the number of the only replicate that there was before version 7."""
    if version >= 7:
        return table
    after = "seed" if "seed" in table.column_names else "forget_set"
    return _inserted(table, {"replicate": pa.repeat(pa.scalar(0, WHOLE), len(table))}, after=after)


def _inserted(table: pa.Table, columns: Mapping[str, pa.Array], *, after: str) -> pa.Table:
    """Return the table with more columns, behind another column."""
    for place, (name, values) in enumerate(columns.items(), table.schema.get_field_index(after) + 1):
        table = table.add_column(place, name, values)
    return table


def _nulls(schema: pa.Schema, metrics: Iterable[str], rows: int) -> dict[str, pa.Array]:
    """Return the columns of metrics, and that of other metrics, without values."""
    return {column: pa.nulls(rows, schema.field(column).type) for column in (*metrics, OTHER_METRICS)}


def _settings_of_trials(table: pa.Table) -> list[Mapping[str, Any]]:
    return [setting_of(row) for row in table.select(["config", "horizon"]).to_pylist()]


def _settings_of_evaluations(table: pa.Table, find_trial: FindTrial) -> list[Mapping[str, Any]]:
    """Return the setting of each row's trial, from the file's own note of it, or from the trial's row."""
    noted = noted_trial(table.schema.metadata)
    known: dict[str | None, Mapping[str, Any]] = {noted.get("trial_id"): setting_of(noted)}
    trials = table["trial_id"].to_pylist()
    for trial_id in set(trials) - known.keys():
        known[trial_id] = find_trial(trial_id) or {}
    return [known[trial_id] for trial_id in trials]


def _without_own_floor(table: pa.Table) -> pa.Table:
    """Remove the exposure of reference models as it was measured before version 4.

    Each was compared with a mean that included itself. This made it too small to be a floor for other models.
    """
    is_reference = pc.starts_with(table["model"], "reference-")
    for column in RELATIVE_TO_REFERENCES:
        values = pc.if_else(is_reference, pa.scalar(None, REAL), table[column])
        table = table.set_column(table.schema.get_field_index(column), column, values)
    return table
