"""What the claims say, in rows and sentences. The terminal's tables and the report only format it."""

from orchestrator.claims.wording.beside import agreement_table, describing_notes, survival_table
from orchestrator.claims.wording.texts import TextTable
from orchestrator.claims.wording.verdicts import (
    by_unit,
    comparisons,
    condition_tables,
    turns,
    verdict_notes,
    verdict_table,
)

__all__ = [
    "TextTable",
    "agreement_table",
    "by_unit",
    "comparisons",
    "condition_tables",
    "describing_notes",
    "survival_table",
    "turns",
    "verdict_notes",
    "verdict_table",
]
