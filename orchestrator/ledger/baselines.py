"""What base and reference models know before unlearning: the rows of ``references/baselines.parquet``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Baselines:
    """What each model knows of each forget set, one row each; no rows where nothing was measured."""

    rows: Sequence[Row]

    def of(self, forget_set: str) -> list[Row]:
        """Return the rows of one forget set."""
        return [row for row in self.rows if row["forget_set"] == forget_set]

    def in_replicate(self, replicate: int) -> "Baselines":
        """Return the rows of one replicate."""
        return Baselines([row for row in self.rows if row["replicate"] == replicate])

    def base(self, forget_set: str, replicate: int | None = None) -> Row | None:
        """Return the row of the base model; None where there is none.

        Args:
            forget_set: that it was measured on.
            replicate: whose base model it is; None: the mean over all replicates.
        """
        return mean_row([row for row in self.bases(forget_set) if replicate in (None, row["replicate"])])

    def bases(self, forget_set: str) -> list[Row]:
        """Return the rows of the base models, one in each replicate."""
        return [row for row in self.of(forget_set) if row["model"] == "base"]

    def references(self, forget_set: str) -> list[Row]:
        """Return the rows of the reference models of all replicates."""
        return [row for row in self.of(forget_set) if row["model"].startswith("reference")]

    def copying(self, forget_set: str) -> Row | None:
        """Return the row of sources that are copied as they are, the mean over replicates; None where there is none."""
        return mean_row([row for row in self.of(forget_set) if row["model"] == "copy"])


def mean_row(rows: Sequence[Row]) -> Row | None:
    """Return the mean of rows of different replicates, of one row itself; None: there is no row.

    A number that is missing in one replicate is missing in the mean.
    """
    if len(rows) < 2:
        return next(iter(rows), None)
    return {name: _mean([row[name] for row in rows]) for name in rows[0]} | {"replicate": None}


def _mean(values: Sequence[Any]) -> Any:
    if all(isinstance(value, float) for value in values):
        return fmean(values)
    return values[0] if all(value == values[0] for value in values) else None
