"""Seeds as replicates of one setting: a study is told the mean of a step once every seed was evaluated there."""

import math
from collections.abc import Sequence

from orchestrator.search.strata import Observation


class Replicates:
    """What the seeds of one setting on one forget set have shown.

    A step that some seed never reaches, since it ended or failed before, is told to no study: a mean of the others
    would be of other models than the means at the steps before it.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._seen: dict[int, dict[int, Observation]] = {seed: {} for seed in seeds}
        """By seed and step."""

    def knows(self, seed: int, step: int) -> bool:
        """Return whether the seed's evaluation at the step was added."""
        return step in self._seen[seed]

    def add(self, seed: int, observation: Observation) -> Observation | None:
        """Note an evaluation. Return the mean over the seeds if it is the last that was missing at its step.

        Evidence counts once: an evaluation that is known changes nothing.
        """
        step = observation.step
        if self.knows(seed, step):
            return None
        self._seen[seed][step] = observation
        if not all(step in seen for seen in self._seen.values()):
            return None
        return _mean([seen[step] for seen in self._seen.values()])


def _mean(observations: Sequence[Observation]) -> Observation:
    """Return the mean of what the seeds showed at one step: infeasible if one is, infinite if one has no number."""
    qualities, performances = zip(*(observation.values for observation in observations), strict=True)
    return Observation(
        step=observations[0].step,
        values=(math.fsum(qualities) / len(observations), math.fsum(performances) / len(observations)),
        feasible=all(observation.feasible for observation in observations),
    )
