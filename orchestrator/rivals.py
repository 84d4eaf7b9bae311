"""The ledger as trials have it: beside keeping their rows, it ranks them among their stratum's."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from orchestrator.errors import StorageError
from orchestrator.ledger import BASELINES_FILE, Ledger
from orchestrator.pareto import hypervolume
from trainables.records import EvaluationRecord, Status
from trainables.results import Rank

_COLUMNS = ("trial_id", "step", "status", "unlearning_quality", "performance")


@dataclass(frozen=True, kw_only=True)
class TrialLedger(Ledger):
    """A sweep's files, for its trials."""

    @staticmethod
    def of(ledger: Ledger) -> "TrialLedger":
        """Give the same files to trials."""
        return TrialLedger(storage=ledger.storage, sweep=ledger.sweep, now=ledger.now, driver=ledger.driver)

    def rank(self, trial_id: str, evaluations: list[EvaluationRecord], *, worst_performance: float) -> Rank:
        """Rank a trial: see ``Results``. Reads the evaluations of the whole sweep, once a rung of a trial.

        Raises:
            StorageError: what the base model knows is gone from the ledger.
        """
        evaluations = [evaluation for evaluation in evaluations if evaluation.step > 0]
        rung = evaluations[-1].step
        trial = self.trial(trial_id)
        corner = (self._base_quality(trial["forget_set"]), worst_performance)
        table = self.table("evaluations", [*_COLUMNS, "stratum"])
        ascended = (pc.field("step") > 0) & (pc.field("step") <= rung)  # the base model's rows have no area
        of_stratum = (pc.field("stratum") == trial["stratum"]) & ascended
        rivals: dict[str, list[dict[str, Any]]] = {}
        for row in table.filter(of_stratum & (pc.field("trial_id") != trial_id)).to_pylist():
            rivals.setdefault(row["trial_id"], []).append(row)
        own = _area([{name: getattr(e, name) for name in _COLUMNS[1:]} for e in evaluations], corner)
        others = [_area(rows, corner) for rows in rivals.values() if any(row["step"] == rung for row in rows)]
        return Rank(rank=1 + sum(area > own for area in others), among=1 + len(others))

    def _base_quality(self, forget_set: str) -> float:
        for row in self.baselines():
            if (row["model"], row["forget_set"]) == ("base", forget_set):
                return float(row["unlearning_quality"])
        raise StorageError(
            f"{self.storage.uri}/{BASELINES_FILE}: says nothing of the base model on '{forget_set}', which "
            f"hypervolume is measured from; put the file back, or resume the sweep, which measures it again"
        )


def _area(rows: list[dict[str, Any]], corner: tuple[float, float]) -> float:
    values = [(row["unlearning_quality"], row["performance"]) for row in rows if row["status"] == Status.COMPLETED]
    values_N2 = np.array(values).reshape(-1, 2)
    return hypervolume(values_N2[np.isfinite(values_N2).all(axis=1)], corner)
