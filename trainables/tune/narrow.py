"""The narrow trial: a Ray Tune class trainable whose actor is reused and keeps the model resident.

The process that hands it to Tune loads no PyTorch with it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ray
from ray import tune

from trainables.trial import TrialWorker, is_last

if TYPE_CHECKING:
    from trainables.trial import TrialSink

TRIAL = "trial"
"""Key of the trial in Tune's config; its value is a ``Trial``."""


class AscentTrainable(tune.Trainable):  # type: ignore[misc]  # Ray is not typed
    """A worker's trial as Tune sees it: each ``step`` is one slice, whose evaluation is published before it is
    reported. ``tune.with_parameters`` provides ``workloads`` and ``sink``."""

    def setup(self, config: dict[str, Any], *, workloads: Sequence[Any], sink: "TrialSink") -> None:
        """Make the worker. Tune may give an actor another trial before the first one's first step.

        Args:
            config: holds the trial.
            workloads: Ray references of what the trials of each replicate share.
            sink: where rows and checkpoints go.
        """
        self._worker = TrialWorker(lambda replicate: ray.get(workloads[replicate]), sink)
        self._worker.take(config[TRIAL])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in the same actor."""
        self._worker.take(new_config[TRIAL])
        return True

    def step(self) -> dict[str, Any]:
        """Run the next slice of the trial and return the report of it."""
        report = self._worker.next_report()
        return {"done": is_last(report), **report}

    def cleanup(self) -> None:
        """Leave an unfinished trial in good order."""
        self._worker.stop()
