"""The wide trial: a Tune trainable whose trials run on the workers of a Ray Train group, one after another.

Every worker runs the trials in step with the others; the leader alone publishes, and reports. The group stays from one
trial to the next, since it takes far longer to start than most trials take. Ray Train neither retries nor keeps
checkpoints: the search retries a trial, from the trial's own checkpoint, on a new group.
"""

import asyncio
import itertools
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import psutil
import ray
import torch
from ray import train, tune
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainables.records import Trial
from trainables.trial import FAILURE, RUNG, TrialSink, TrialWorker, is_last
from trainables.tune.narrow import TRIAL

_OVER = None
"""Marks the end of a group's reports, and of its trials."""
_LEAVING_S = 10.0
"""How long a group that is not needed any more may take to end by itself."""
_SIGNS_OF_A_LOST_PEER = ("gloo/transport", "Connection closed by peer", "Connection reset by peer", "NCCL")
"""What PyTorch writes into a plain RuntimeError where another process of the group has ended."""
_PATIENCE_S = 365 * 86_400
"""A trial waits for its workers as a narrow one does, however long: a cluster may have to grow first. Whether anything
goes on at all is watched by whoever drives the sweep."""


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


class _Torch(TorchConfig):  # type: ignore[misc]  # Ray is not typed
    """PyTorch's process group, over the network that Ray uses."""

    @property
    def backend_cls(self) -> type:
        return _TorchOverRaysNetwork


class _TorchOverRaysNetwork(TorchConfig().backend_cls):  # type: ignore[misc]
    """Sets the network up first: Gloo would listen where the machine's name leads, often a loopback address."""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        worker_group.execute(choose_network)
        super().on_start(worker_group, backend_config)


def choose_network() -> None:
    """Have Gloo and NCCL use the interface by which Ray knows this machine, unless the environment names another."""
    address = ray.util.get_node_ip_address()
    for interface, addresses in psutil.net_if_addrs().items():
        if address in (entry.address for entry in addresses):
            for library in ("GLOO", "NCCL"):
                os.environ.setdefault(f"{library}_SOCKET_IFNAME", interface)


class _Line:
    """Between the workers of a group and its trainable: trials one way, reports the other, and that one was judged."""

    def __init__(self) -> None:
        self._trials: list[Trial | None] = []
        self._another = asyncio.Condition()
        self._reports: asyncio.Queue[Any] = asyncio.Queue()
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

    async def put(self, report: Any) -> None:
        """Add a report."""
        await self._reports.put(report)

    async def get(self) -> Any:
        """Wait for the next report and return it."""
        return await self._reports.get()

    async def note_judged(self) -> None:
        """Let the trial go on from the rung that it has reported."""
        await self._judged.put(None)

    async def wait_until_judged(self) -> None:
        """Wait until the trial may go on from its rung."""
        await self._judged.get()


class _Group:
    """A group of workers as its trainable sees it.

    Reports do not go by Ray's ``TuneReportCallback``: it passes a group's last results and its end to Tune by two ways,
    and where Tune is slow to ask, both wait for each other for ever.
    """

    def __init__(
        self, *, workloads: Sequence[Any], sink: TrialSink, workers: int, worker_resources: Mapping[str, float]
    ) -> None:
        os.environ.update(
            {  # Ray Train takes these from the environment only; they reach its controller and its workers
                "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(_PATIENCE_S),
                "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how late it sees that workers have ended, or died
                "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # it would restart workers itself
            }
        )
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._line = ray.remote(num_cpus=0, scheduling_strategy=here)(_Line).remote()  # not where it may be lost alone
        self._error: Exception | None = None
        self._is_at_rung = False
        has_gpus = worker_resources["GPU"] > 0
        self._scratch = tempfile.TemporaryDirectory(prefix="unlearn-sweep-train-", ignore_cleanup_errors=True)
        self._trainer = TorchTrainer(
            _work,
            # references in a list are fetched by whoever needs one
            train_loop_config={"workloads": workloads, "sink": sink, "line": self._line},
            torch_config=_Torch(backend="nccl" if has_gpus else "gloo"),
            scaling_config=train.ScalingConfig(
                num_workers=workers, use_gpu=has_gpus, resources_per_worker=dict(worker_resources)
            ),
            run_config=train.RunConfig(
                storage_path=self._scratch.name,
                failure_config=train.FailureConfig(
                    max_failures=0, controller_failure_limit=0, max_preemption_failures=0
                ),
            ),
        )
        self._thread = threading.Thread(target=self._fit, name="fit", daemon=True)
        self._thread.start()

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:  # it is raised by next_report, in the thread that Tune looks at
            self._error = error
        finally:
            ray.get(self._line.put.remote(_OVER))

    @property
    def is_over(self) -> bool:
        """Whether the workers have ended."""
        return not self._thread.is_alive()

    def take(self, trial: Trial) -> None:
        """Take the next trial, which follows one that has ended."""
        ray.get(self._line.add_trial.remote(trial))

    def next_report(self) -> dict[str, Any]:
        """Run the next slice of the trial, on all workers, and return the leader's report; or of a failure of any.

        Raises:
            Exception: as Ray says that a worker has died.
        """
        if self._is_at_rung:  # whoever asks for the next slice has judged the trial there
            ray.get(self._line.note_judged.remote())
        report = ray.get(self._line.get.remote())
        if report is _OVER:
            assert self._error is not None
            raise self._error
        if FAILURE in report:
            later = iter(lambda: ray.get(self._line.get.remote()), _OVER)
            return {FAILURE: _most_telling([report[FAILURE], *(one[FAILURE] for one in later if FAILURE in one)])}
        self._is_at_rung = RUNG in report
        return dict(report)

    def end(self) -> None:
        """End the workers; those of an unfinished trial, by force."""
        ray.get(self._line.add_trial.remote(_OVER))
        self._thread.join(_LEAVING_S)
        ray.kill(self._line)
        self._scratch.cleanup()


def _most_telling(failed: list[dict[str, Any]]) -> dict[str, Any]:
    """Choose what is reported of a group that failed: the first failure, from which others may follow.

    All workers raise what the leader raised, and the leader alone has the whole traceback.
    """
    alike = [failure for failure in failed if failure["message"] == failed[0]["message"]]
    return max(alike, key=lambda failure: len(failure["details"]))


def _work(config: dict[str, Any]) -> None:
    """Run the group's trials in one worker. The first that fails reports it, whichever it is, and ends the group."""
    line, workloads = config["line"], config["workloads"]
    worker = TrialWorker(lambda replicate: ray.get(workloads[replicate]), config["sink"])
    for number in itertools.count():
        trial = ray.get(line.trial.remote(number))
        if trial is _OVER:
            return
        worker.take(trial)
        try:
            _run_trial(worker, line)
        except Exception as error:
            if not _lost_another(error):
                ray.get(line.put.remote({FAILURE: asdict(worker.failure(error))}))
            raise


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


def _lost_another(error: Exception) -> bool:
    """Return whether an exception only says that another process of the group, or of Ray, does not answer any more."""
    kinds = (ray.exceptions.RayError, torch.distributed.DistError)
    return isinstance(error, kinds) or any(sign in str(error) for sign in _SIGNS_OF_A_LOST_PEER)
