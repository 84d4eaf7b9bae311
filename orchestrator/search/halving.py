"""Successive halving: at a rung of the step axis, the better trials of a stratum go on, and the others end.

It is decided in the driver, which hears of every evaluation. A trial reports that it has reached a rung, and goes on,
or ends, once it is judged: why it ends stands in its row of the ledger.

Trials of one setting that a study takes the mean of are judged as one, so that no setting loses some of its trials: the
first of them to reach a rung decides for all. ``halving/*.json`` keeps what was decided, for a resumed sweep.
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import StorageError
from orchestrator.identity import Stratum, canonical_json, content_hash
from orchestrator.ledger import BASELINES_FILE, DECISIONS, DriverWriter, Ledger
from orchestrator.pareto import hypervolume
from trainables.records import Observation, Trial

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.spec import SweepSpec

_COLUMNS = ["trial_id", "stratum", "step", "status", "unlearning_quality", "performance"]


class Rank(NamedTuple):
    """How good a trial is among several, itself included: 1 is the best, equal trials share the better rank."""

    rank: int
    among: int


@dataclass(frozen=True, kw_only=True)
class _Decision:
    """What was decided of a setting at a rung, when the first of its trials reached it."""

    trial_id: str
    """The trial that reached it."""
    step: int
    target_step: int
    """Where the trial was going."""
    reason: str | None
    """Why the setting's trials end; None: they go on."""


class Halving:
    """Judges the trials of a sweep at the rungs of ``stop.halving``."""

    def __init__(self, spec: "SweepSpec", ledger: Ledger, *, workload_hashes: "Sequence[str]") -> None:
        assert spec.stop.halving is not None
        self._rungs = spec.stop.halving.rungs
        self._reduction = spec.stop.halving.reduction
        self._floor_increase = spec.stop.max_heldout_nll_increase
        self._across = spec.search.across
        self._ledger = ledger
        self._writer = DriverWriter(ledger)
        self._workload_hashes = workload_hashes
        self._points: dict[str, dict[str, dict[int, tuple[float, float] | None]]] | None = None
        """Unlearning quality and performance by stratum, trial id and step; None at a step that is not completed. None
        instead of all: the ledger is not read yet."""
        self._areas: dict[tuple[str, int], float] = {}
        """The hypervolume of each trial up to each rung, by trial id and rung."""

    def observe(self, trial: Trial, observation: Observation) -> None:
        """Note one committed evaluation."""
        if self._points is not None:  # else it is read with the others
            self._add(trial, [_point(observation)])

    def catch_up(self, trial: Trial) -> None:
        """Note what is published of a trial, some of which may never have been reported."""
        if self._points is not None:
            published, _ = self._ledger.published(trial.trial_id)
            self._add(trial, [_point(Observation.of(evaluation)) for evaluation in published])

    def decide(self, trial: Trial, rung: int) -> str | None:
        """Judge a trial that has reached a rung. Return why it ends there, which is put into its row; None: it goes on.

        Raises:
            StorageError: the base model's numbers are gone from the ledger, or a decision cannot be kept or read.
        """
        rank, among = self.rank(trial, rung)
        kept = max(1, int(among / self._reduction))
        behind = None
        if rank > kept:
            behind = (
                f"step {rung}: hypervolume is number {rank} of the {among} trials that reached this rung, and "
                f"{kept} of them go on (stop.halving)"
            )
        reason = self.agree(trial.trial_id, rung, behind)
        if reason is not None:
            self._writer.judge(trial.trial_id, reason)
        return reason

    def rank(self, trial: Trial, rung: int) -> Rank:
        """Rank a trial among those of its stratum that reached a rung.

        They are compared by the hypervolume of what each has published up to there, below the base model's unlearning
        quality and the performance floor.

        Raises:
            StorageError: the base model's numbers are gone from the ledger.
        """
        corner = self._corner(trial)
        self._read_once()
        self.catch_up(trial)
        assert self._points is not None
        own = self._area(trial.trial_id, self._of(trial)[trial.trial_id], rung, corner)
        others = [
            self._area(trial_id, points, rung, corner)
            for trial_id, points in self._of(trial).items()
            if trial_id != trial.trial_id and rung in points
        ]
        return Rank(rank=1 + sum(area > own for area in others), among=1 + len(others))

    def _read_once(self) -> None:
        """Read every evaluation of the sweep, the first time."""
        if self._points is None:
            self._points = {}
            for row in self._ledger.table("evaluations", _COLUMNS).to_pylist():
                columns = {name: row[name] for name in ("step", "status", "unlearning_quality", "performance")}
                step, values = _point(Observation.measured(**columns))
                self._points.setdefault(row["stratum"], {}).setdefault(row["trial_id"], {})[step] = values

    def _add(self, trial: Trial, points: "Iterable[tuple[int, tuple[float, float] | None]]") -> None:
        own = self._of(trial).setdefault(trial.trial_id, {})
        for step, values in points:
            own[step] = values
            for rung in self._rungs:
                if step <= rung:
                    self._areas.pop((trial.trial_id, rung), None)

    def _of(self, trial: Trial) -> dict[str, dict[int, tuple[float, float] | None]]:
        """Return what is known of the trials of a trial's stratum."""
        assert self._points is not None
        return self._points.setdefault(Stratum.of(trial).name, {})

    def _area(
        self,
        trial_id: str,
        points: "Mapping[int, tuple[float, float] | None]",
        rung: int,
        corner: tuple[float, float],
    ) -> float:
        """Return the hypervolume of a trial up to a rung. The base model's point has none."""
        if (trial_id, rung) not in self._areas:
            up_to_rung = [values for step, values in sorted(points.items()) if 0 < step <= rung and values is not None]
            values_N2 = np.array(up_to_rung, dtype=float).reshape(-1, 2)
            self._areas[trial_id, rung] = hypervolume(values_N2, corner)
        return self._areas[trial_id, rung]

    def _corner(self, trial: Trial) -> tuple[float, float]:
        """Return the base model's unlearning quality, and the performance floor in nats per token."""
        base = self._ledger.baselines().base(trial.forget_set, trial.replicate)
        if base is None:
            raise StorageError(
                f"{self._ledger.storage.uri}/{BASELINES_FILE}: has no row of the base model on '{trial.forget_set}', "
                f"which hypervolume is measured from; put the file back, or resume the sweep, which measures it again"
            )
        return float(base["unlearning_quality"]), float(base["performance"]) + self._floor_increase

    def agree(self, trial_id: str, rung: int, behind: str | None) -> str | None:
        """Return why all trials of a setting end at a rung; None: they go on. What was decided once holds on a resume.

        A longer step axis opens trials again that had ended, and they are judged anew. Where every stratum has a study
        of its own, each trial is judged by itself.

        Args:
            trial_id: the trial that has reached the rung.
            rung: its step.
            behind: why the trial would end by its own rank; None: it would go on.

        Raises:
            StorageError: a decision cannot be kept, or not be read.
        """
        if self._across == "each":
            return behind
        row = self._ledger.trial(trial_id)
        target_step = row["target_step"]
        workload_hash = self._workload_hashes[row["replicate"] if self._across == "seeds" else 0]
        setting = [workload_hash, row["forget_set"], row["setting_id"] or trial_id, rung]
        own = _Decision(trial_id=trial_id, step=rung, target_step=target_step, reason=behind)
        before, decided = 0, self._first_decision(setting, own, after=0)
        while decided.reason is not None and before < decided.target_step < target_step:
            before = decided.target_step
            decided = self._first_decision(setting, own, after=before)
        if decided.reason is None or decided.trial_id == trial_id:
            return decided.reason
        return f"{decided.reason}; so decided trial {decided.trial_id}, of the same setting"

    def _first_decision(self, setting: list[Any], own: _Decision, *, after: int) -> _Decision:
        """Return what was decided of a setting at a rung, once the trials that ended there on an axis up to ``after``
        went on. Where nothing was, ``own`` is it."""
        path = f"{DECISIONS}/{content_hash([*setting, after])[:16]}.json"
        content = self._writer.keep_first(path, canonical_json(asdict(own)).encode())
        try:
            return TypeAdapter(_Decision).validate_json(content, strict=True)
        except ValidationError:
            raise StorageError(
                f"{self._ledger.storage.uri}/{path}: does not say what was decided of a setting at a rung; remove it, "
                f"and resume the sweep, which decides again"
            ) from None


def _point(observation: Observation) -> tuple[int, tuple[float, float] | None]:
    """Return the step of an observation, and its values; None: no model that could go on."""
    return observation.step, observation.values if observation.feasible else None
