"""The wide trial: a Tune trainable whose trials run on the workers of a Ray Train group, one after another.

Every worker runs the trials in step with the others; the leader alone publishes, and reports. The group stays from one
trial to the next, since it takes far longer to start than most trials take. Ray Train neither retries nor keeps
checkpoints: the search retries a trial, from the trial's own checkpoint, on a new group.
"""

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import ray
from ray import train, tune

from trainables.records import Trial
from trainables.trial import FAILURE, RUNG, TrialSink, TrialWorker, is_last
from trainables.tune.narrow import TRIAL
from trainables.tune.train_group import Line, TrainGroup, reported_failures

_NO_MORE = None
"""Marks the end of a group's trials."""


class WideTrainable(tune.Trainable):  # type: ignore[misc]  # Ray is not typed
    """A group's trial as Tune sees it: each ``step`` is one slice, as of a narrow trial. It needs no CPU itself.

    ``tune.with_parameters`` provides what ``setup`` takes.
    """

    def setup(
        self,
        config: dict[str, Any],
        *,
        workloads: Sequence[Any],
        sink: TrialSink,
        workers: int,
        worker_resources: Mapping[str, float],
    ) -> None:
        """Take the first trial. The group is started by the first step: Tune may keep an actor that it does not use.

        Args:
            config: holds the trial.
            workloads: the Ray references of what the trials of each replicate share: each worker maps those it needs.
            sink: where their rows and checkpoints go.
            workers: processes of one trial.
            worker_resources: what each takes, by Ray's names; with a GPU, the workers speak by NCCL, else by Gloo.
        """
        self._start_group = partial(
            _Group, workloads=workloads, sink=sink, workers=workers, worker_resources=worker_resources
        )
        self._group: _Group | None = None
        self._next: Trial | None = config[TRIAL]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial, for the same group."""
        self._next = new_config[TRIAL]
        return True

    def step(self) -> dict[str, Any]:
        """Run the next slice of the trial and return the report of it. A group that fails in a trial is given up."""
        if self._group is not None and self._next is not None and self._group.is_over:
            self.cleanup()  # a worker has died since the last trial
        if self._group is None:
            self._group = self._start_group()
        if self._next is not None:
            self._group.take(self._next)
            self._next = None
        report = self._group.next_report()
        if FAILURE in report:
            self.cleanup()
        return {"done": is_last(report), **report}

    def cleanup(self) -> None:
        """End the group."""
        if self._group is not None:
            self._group.end()
            self._group = None


class _TrialLine(Line):
    """Also brings the group its trials, and word that one was judged."""

    def __init__(self) -> None:
        super().__init__()
        self._trials: list[Trial | None] = []
        self._another = asyncio.Condition()
        self._judged: asyncio.Queue[None] = asyncio.Queue()

    async def add_trial(self, trial: Trial | None) -> None:
        """Add the next trial of the group; None: there is none any more."""
        async with self._another:
            self._trials.append(trial)
            self._another.notify_all()

    async def trial(self, number: int) -> Trial | None:
        """Wait for a trial of the group, by its number from 0, and return it."""
        async with self._another:
            await self._another.wait_for(lambda: len(self._trials) > number)
        return self._trials[number]

    async def note_judged(self) -> None:
        """Let the trial go on from the rung that it has reported."""
        await self._judged.put(None)

    async def wait_until_judged(self) -> None:
        """Wait until the trial may go on from its rung."""
        await self._judged.get()


class _Group(TrainGroup):
    """A group that runs trials, as its trainable sees it."""

    def __init__(
        self, *, workloads: Sequence[Any], sink: TrialSink, workers: int, worker_resources: Mapping[str, float]
    ) -> None:
        super().__init__(
            _work,
            {"workloads": workloads, "sink": sink},
            workers=workers,
            worker_resources=worker_resources,
            line=_TrialLine,
        )
        self._is_at_rung = False

    def take(self, trial: Trial) -> None:
        """Take the next trial, which follows one that has ended."""
        ray.get(self.line.add_trial.remote(trial))

    def next_report(self) -> dict[str, Any]:
        """Run the next slice of the trial, on all workers, and return the leader's report; or of a failure of any.

        Raises:
            Exception: as Ray says that a worker has died.
        """
        if self._is_at_rung:  # whoever asks for the next slice has judged the trial there
            ray.get(self.line.note_judged.remote())
        report = super().next_report()
        self._is_at_rung = RUNG in report
        return report

    def end(self) -> None:
        """End the workers; those of an unfinished trial, by force."""
        ray.get(self.line.add_trial.remote(_NO_MORE))
        super().end()


def _work(config: dict[str, Any]) -> None:
    """Run the group's trials in one worker. The first that fails reports it, whichever it is, and ends the group."""
    line, workloads = config["line"], config["workloads"]
    worker = TrialWorker(lambda replicate: ray.get(workloads[replicate]), config["sink"])
    for number in itertools.count():
        trial = ray.get(line.trial.remote(number))
        if trial is _NO_MORE:
            return
        worker.take(trial)
        with reported_failures(line, lambda error: asdict(worker.failure(error))):
            _run_trial(worker, line)


def _run_trial(worker: TrialWorker, line: Any) -> None:
    """Run a trial slice by slice; the leader of the group passes on the reports."""
    is_leader, is_over = train.get_context().get_world_rank() == 0, False
    while not is_over:
        report = worker.run_slice()
        is_over = is_last(report)
        if is_leader:
            ray.get(line.put.remote(report))
            if RUNG in report:  # the others wait for the leader at the beginning of the next slice
                ray.get(line.wait_until_judged.remote())
