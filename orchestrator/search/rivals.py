"""The ledger as trials have it: beside keeping their rows, it ranks them among their stratum's.

Trials of one setting that a study takes the mean of are judged as one at a rung. They run side by side, and may reach
it at the same moment: the first of them to write ``halving/*.json`` decides.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import StorageError
from orchestrator.identity import canonical_json, content_hash
from orchestrator.ledger import BASELINES_FILE, DECISIONS, Ledger, TrialWriter
from orchestrator.pareto import hypervolume
from trainables.records import EvaluationRecord, Status
from trainables.trial import Rank

if TYPE_CHECKING:
    from orchestrator.spec import SweepSpec

_COLUMNS = ("trial_id", "step", "status", "unlearning_quality", "performance")


@dataclass(kw_only=True)
class _Rivals:
    """What a process has read of the sweep's evaluations. A file that has not changed since is not read again."""

    fingerprints: dict[str, str] = field(default_factory=dict)
    """Of the files that were read, by path."""
    rows: dict[str, dict[str, list[dict[str, Any]]]] = field(default_factory=dict)
    """By stratum and trial id."""

    def forget(self, trial_ids: Iterable[str]) -> None:
        """Forget what is known of some trials."""
        for trial_id in trial_ids:
            for trials in self.rows.values():
                trials.pop(trial_id, None)

    def take_in(self, table: pa.Table) -> None:
        """Add the evaluations of trials that nothing is known of."""
        for row in table.select([*_COLUMNS, "stratum"]).to_pylist():
            self.rows.setdefault(row["stratum"], {}).setdefault(row["trial_id"], []).append(row)


@dataclass(frozen=True, kw_only=True)
class _Decision:
    """What a trial came to at a rung, first of its setting's seeds."""

    trial_id: str
    step: int
    target_step: int
    """Where it was going."""
    reason: str | None
    """Why they end; None: they go on."""


@dataclass(frozen=True, kw_only=True)
class TrialLedger(TrialWriter):
    """A sweep's files, for its trials."""

    workload_hash: str | None = None
    """Of what the trials run on, where the seeds of a setting are judged as one; None: each trial is by itself."""
    _rivals: _Rivals = field(default_factory=_Rivals, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, ledger: Ledger, spec: "SweepSpec", workload_hash: str) -> Self:
        """Give the same files to the trials of a sweep."""
        return cls(
            ledger,
            workload_hash=workload_hash if spec.search.across == "seeds" else None,
        )

    def rank(self, trial_id: str, evaluations: list[EvaluationRecord], *, worst_performance: float) -> Rank:
        """Rank a trial: see ``Results``. The first time it reads the evaluations of the whole sweep, then what is new.

        Raises:
            StorageError: what the base model knows is gone from the ledger.
        """
        evaluations = [evaluation for evaluation in evaluations if evaluation.step > 0]
        rung = evaluations[-1].step
        trial = self.ledger.trial(trial_id)
        corner = (self._base_quality(trial["forget_set"]), worst_performance)
        self._read_what_is_new()
        own = _area([{name: getattr(e, name) for name in _COLUMNS[1:]} for e in evaluations], corner)
        others = []
        for rival, all_rows in self._rivals.rows.get(trial["stratum"], {}).items():
            rows = [row for row in all_rows if 0 < row["step"] <= rung]  # the base model's row has no area
            if rival != trial_id and any(row["step"] == rung for row in rows):
                others.append(_area(rows, corner))
        return Rank(rank=1 + sum(area > own for area in others), among=1 + len(others))

    def agree(self, trial_id: str, step: int, reason: str | None) -> str | None:
        """Agree with the other seeds of a trial's setting: see ``Results``. What was decided once holds on a resume.

        A longer step axis opens trials again that had ended, and asks anew.

        Raises:
            StorageError: what was decided cannot be kept, or not be read.
        """
        if self.workload_hash is None:
            return reason
        trial = self.ledger.trial(trial_id)
        target_step = trial["target_step"]
        setting = [self.workload_hash, trial["forget_set"], trial["setting_id"] or trial_id, step]
        own = _Decision(trial_id=trial_id, step=step, target_step=target_step, reason=reason)
        before, decided = 0, self._first_decision(setting, own, after=0)
        while decided.reason is not None and before < decided.target_step < target_step:
            before = decided.target_step
            decided = self._first_decision(setting, own, after=before)
        if decided.reason is None or decided.trial_id == trial_id:
            return decided.reason
        return f"{decided.reason}; so decided trial {decided.trial_id}, of another seed"

    def _first_decision(self, setting: list[Any], own: "_Decision", *, after: int) -> "_Decision":
        """Return what was decided of a setting at a rung, once the trials that ended there on an axis up to ``after``
        went on; it is the trial's own decision where it is the first to ask."""
        path = f"{DECISIONS}/{content_hash([*setting, after])[:16]}.json"
        self.ledger.fenced.create(path, canonical_json(asdict(own)).encode())
        try:
            return TypeAdapter(_Decision).validate_json(self.ledger.storage.read(path) or b"", strict=True)
        except ValidationError:
            raise StorageError(
                f"{self.ledger.storage.uri}/{path}: does not say what was decided of a setting at a rung; remove it, "
                f"and resume the sweep, which decides again"
            ) from None

    def _read_what_is_new(self) -> None:
        known, files = self._rivals.fingerprints, self.ledger.files.list("evaluations")
        if not known:
            self._rivals.take_in(self.ledger.table("evaluations", [*_COLUMNS, "stratum"]))
        else:
            changed = [path for path in files.keys() | known.keys() if files.get(path) != known.get(path)]
            self._rivals.forget(PurePosixPath(path).stem for path in changed)
            for file in self.ledger.files.open_all("evaluations", sorted(files.keys() & set(changed))):
                self._rivals.take_in(file.rows)
        self._rivals.fingerprints = files  # listed before they were read: what changed since is read again

    def _base_quality(self, forget_set: str) -> float:
        base = self.ledger.baselines().base(forget_set)
        if base is not None:
            return float(base["unlearning_quality"])
        raise StorageError(
            f"{self.ledger.storage.uri}/{BASELINES_FILE}: says nothing of the base model on '{forget_set}', which "
            f"hypervolume is measured from; put the file back, or resume the sweep, which measures it again"
        )


def _area(rows: list[dict[str, Any]], corner: tuple[float, float]) -> float:
    values = [(row["unlearning_quality"], row["performance"]) for row in rows if row["status"] == Status.COMPLETED]
    values_N2 = np.array(values).reshape(-1, 2)
    return hypervolume(values_N2[np.isfinite(values_N2).all(axis=1)], corner)
