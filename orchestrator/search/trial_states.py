"""What a search knows of each trial, and what the trials of one setting, one in each stratum, have shown together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.search.assignments import Assignment
from trainables.records import Observation, Status


@dataclass(kw_only=True, slots=True)
class TrialState:
    """What a search knows of one trial. Whether the trial waits or runs now is kept by its study's ``StudyQueue``."""

    target_step: int | None = None
    """The last step that it was asked for; None: it was not handed out yet."""
    status: Status | None = None
    """How it ended; None: it has not."""
    told_steps: dict[int, Observation] = field(default_factory=dict)
    """Its evaluations that count, by step."""
    repeats: list[Assignment] = field(default_factory=list)
    """Further proposals of this trial, which wait until it has ended."""
    failures: int = 0
    """How often its worker died in this process."""


class SettingTrials:
    """The trials of one setting in the strata that a study searches.

    A study is told the mean of a step once every trial was evaluated there. A step that some trial never reaches, since
    it ended or failed before, is told to no study: a mean of the others would be of other models than the means at the
    steps before it.
    """

    __slots__ = ("_strata", "_trials")

    def __init__(self, strata: int) -> None:
        self._strata = strata
        """How many strata the study searches."""
        self._trials: dict[str, TrialState] = {}
        """Those that were seen, by stratum."""

    def add(self, stratum: str, trial: TrialState, observation: Observation) -> Observation | None:
        """Add an evaluation of a trial; return the mean over all strata if it is the last one missing there.

        Evidence counts once: an evaluation that is known changes nothing.
        """
        step = observation.step
        self._trials[stratum] = trial
        if step in trial.told_steps:
            return None
        trial.told_steps[step] = observation
        shown = [other.told_steps[step] for other in self._trials.values() if step in other.told_steps]
        return _mean(shown) if len(shown) == self._strata else None


def _mean(observations: Sequence[Observation]) -> Observation:
    """Return the mean of what the trials showed at one step: infeasible if one is, infinite if one has no number."""
    qualities, performances = zip(*(observation.values for observation in observations), strict=True)
    return Observation(
        step=observations[0].step,
        values=(math.fsum(qualities) / len(observations), math.fsum(performances) / len(observations)),
        feasible=all(observation.feasible for observation in observations),
    )
