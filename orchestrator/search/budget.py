"""The account of a sweep: what its trials have cost, and whether another one may be proposed.

The strata have equal shares of steps and GPU-hours, so that none takes what another will need, and what one proposes
does not depend on how fast the others are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.durations import duration
from orchestrator.spec import BudgetConfig


@dataclass(kw_only=True)
class _Cost:
    """What one trial costs."""

    steps: int = 0
    """Where its last evaluation is."""
    target_step: int | None = None
    """Where it will end; None: it has ended."""
    elapsed_s: float = 0.0

    @property
    def committed_steps(self) -> int:
        return max(self.steps, self.target_step or 0)


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """What the trials of one stratum cost."""

    steps: int
    elapsed_s: float
    foreseen_s: float
    """What they will have taken, if each that runs takes as long as the average of those that ended."""

    @staticmethod
    def of(costs: "Sequence[_Cost]") -> "_Sums":
        ended = [cost.elapsed_s for cost in costs if cost.target_step is None]
        mean_s = sum(ended) / len(ended) if ended else 0.0
        return _Sums(
            steps=sum(cost.committed_steps for cost in costs),
            elapsed_s=sum(cost.elapsed_s for cost in costs),
            foreseen_s=sum(
                cost.elapsed_s if cost.target_step is None else max(cost.elapsed_s, mean_s) for cost in costs
            ),
        )


class Budget:
    """The account of one sweep."""

    def __init__(
        self,
        limits: BudgetConfig,
        strata: Sequence[str],
        *,
        longest_trial: int,
        gpus_per_trial: float,
        driven_before_s: float,
        clock: Callable[[], float],
    ) -> None:
        """Open an account.

        Args:
            limits: of the spec.
            strata: names of the sweep's strata.
            longest_trial: steps of a whole axis.
            gpus_per_trial: see ``share_gpus``.
            driven_before_s: how long earlier sessions drove the sweep.
            clock: returns seconds that only grow; this session begins now.
        """
        self.limits = limits
        self._strata = strata
        self._longest_trial = longest_trial
        self._gpus_per_trial = gpus_per_trial
        self._driven_before_s = driven_before_s
        self._clock = clock
        self._began = clock()
        self._costs: dict[str, dict[str, _Cost]] = {stratum: {} for stratum in strata}
        """By stratum and trial id."""
        self._sums: dict[str, _Sums] = {}
        """By stratum; missing where costs have changed since."""

    def share_gpus(self, gpus_per_trial: float) -> None:
        """Set how many GPUs, or which share of one, a trial takes."""
        self._gpus_per_trial = gpus_per_trial

    def record(self, stratum: str, trial_id: str, *, step: int = 0, elapsed_s: float = 0.0) -> None:
        """Record how far a trial has come, and how long it took. Less than is known changes nothing."""
        cost = self._cost(stratum, trial_id)
        cost.steps = max(cost.steps, step)
        cost.elapsed_s = max(cost.elapsed_s, elapsed_s)

    def open(self, stratum: str, trial_id: str, target_step: int) -> None:
        """Record that a trial runs or will run, and how far."""
        self._cost(stratum, trial_id).target_step = target_step

    def close(self, stratum: str, trial_id: str) -> None:
        """Record that a trial has ended."""
        self._cost(stratum, trial_id).target_step = None

    def _cost(self, stratum: str, trial_id: str) -> "_Cost":
        """Return a trial's cost, to be changed."""
        self._sums.pop(stratum, None)
        return self._costs[stratum].setdefault(trial_id, _Cost())

    def counts(self, stratum: str, trial_id: str) -> bool:
        """Return whether the account already includes what a trial will cost until its end."""
        cost = self._costs[stratum].get(trial_id)
        return cost is not None and cost.target_step is not None

    def allows(self, strata: Sequence[str]) -> bool:
        """Return whether each of these strata may propose one more trial."""
        return not self.is_out_of_time and not any(self._spent(stratum, together=len(strata)) for stratum in strata)

    @property
    def is_out_of_time(self) -> bool:
        """Whether the sweep was driven for as long as it may be."""
        limit = self.limits.max_wall_s
        return limit is not None and self._driven_s >= limit

    @property
    def _driven_s(self) -> float:
        return self._driven_before_s + self._clock() - self._began

    def describe(self, strata: Sequence[str]) -> list[str]:
        """Return which limits keep these strata from proposing, a sentence each."""
        notes = []
        if self.is_out_of_time:
            notes.append(
                f"search.budget.max_wall: the sweep was driven for {duration(self._driven_s)} of {self.limits.max_wall}"
            )
        names = {name for stratum in strata for name in self._spent(stratum)}
        if "max_steps_total" in names:
            steps, limit = sum(self._steps(s) for s in self._strata), self.limits.max_steps_total
            notes.append(
                f"search.budget.max_steps_total: {steps} of {limit} steps are spent, and no trial of "
                f"{self._longest_trial} fits any more into the share of a stratum"
            )
        if "max_gpu_hours" in names:
            hours, most = sum(self._gpu_hours(s) for s in self._strata), self.limits.max_gpu_hours
            notes.append(f"search.budget.max_gpu_hours: {hours:.3g} of {most:g} GPU-hours are spent")
        return notes

    def _spent(self, stratum: str, *, together: int = 1) -> list[str]:
        """Return the limits that leave a stratum no further trial: its own share is spent, or the whole budget.

        The whole may be spent first where strata were added later.

        Args:
            stratum: its name.
            together: how many strata take a trial at once from what is left of the whole.
        """
        names = []
        share = 1 / len(self._strata)
        steps, hours = self.limits.max_steps_total, self.limits.max_gpu_hours
        if steps is not None:
            everywhere = sum(self._steps(name) for name in self._strata)
            room = min(steps * share - self._steps(stratum), (steps - everywhere) / together)
            names += ["max_steps_total"] if room < self._longest_trial else []
        if hours is not None:
            everywhere_h = sum(self._foreseen_gpu_hours(name) for name in self._strata)
            room_h = min(hours * share - self._foreseen_gpu_hours(stratum), hours - everywhere_h)
            names += ["max_gpu_hours"] if room_h <= 0 else []
        return names

    def _summed(self, stratum: str) -> "_Sums":
        """Return the sums of a stratum's costs, added up once between two changes."""
        if stratum not in self._sums:
            self._sums[stratum] = _Sums.of(list(self._costs[stratum].values()))
        return self._sums[stratum]

    def _steps(self, stratum: str) -> int:
        return self._summed(stratum).steps

    def _gpu_hours(self, stratum: str) -> float:
        return self._summed(stratum).elapsed_s * self._gpus_per_trial / 3600

    def _foreseen_gpu_hours(self, stratum: str) -> float:
        return self._summed(stratum).foreseen_s * self._gpus_per_trial / 3600
