"""Changes of a trial's row in the table ``trials``: its file is replaced whole."""

from collections.abc import Mapping
from typing import Any

from orchestrator.ledger.layout import trial_file
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.schema import TRIALS
from orchestrator.ledger.tables.parquet import encode
from orchestrator.ledger.tables.rows import to_table
from orchestrator.ledger.tables.table_files import TableFile

REOPENED: Mapping[str, Any] = {"status": None, "message": None, "ended_at": None}
"""The columns of a trial that has not ended."""


def change_trial(ledger: Ledger, trial_id: str, changes: Mapping[str, Any]) -> None:
    """Change columns of a trial's row.

    Raises:
        StorageError: the row is gone, or was damaged.
    """
    before = ledger.open_trial(trial_id)
    replace_trial(ledger, before, {**before.only_row(), **changes})


def replace_trial(ledger: Ledger, before: TableFile | None, row: Mapping[str, Any]) -> None:
    """Replace a trial's row, if it changes. The new file begins with the one before: see ``parquet.encode``."""
    rows = to_table(TRIALS, [row])
    if before is None or not before.rows.equals(rows):
        after = None if before is None else before.content
        ledger.fenced.publish(trial_file("trials", row["trial_id"]), encode(rows, after=after))
