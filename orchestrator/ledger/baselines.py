"""What base and reference models know before unlearning: the rows of ``references/baselines.parquet``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Baselines:
    """What each model knows of each forget set, one row each; no rows where nothing was measured."""

    rows: Sequence[Row]

    def of(self, forget_set: str) -> list[Row]:
        """Return the rows of one forget set."""
        return [row for row in self.rows if row["forget_set"] == forget_set]

    def base(self, forget_set: str) -> Row | None:
        """Return the row of the base model; None where there is none."""
        return next((row for row in self.of(forget_set) if row["model"] == "base"), None)

    def references(self, forget_set: str) -> list[Row]:
        """Return the rows of the reference models."""
        return [row for row in self.of(forget_set) if row["model"].startswith("reference")]

    def copying(self, forget_set: str) -> Row | None:
        """Return the row of sources that are copied as they are; None where there is none."""
        return next((row for row in self.of(forget_set) if row["model"] == "copy"), None)
