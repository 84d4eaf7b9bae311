"""The wide trial: a Tune function that runs one trial on the workers of a Ray Train group.

Every worker runs the trial's loop in step with the others; the leader alone publishes, and reports. Ray Train
neither retries nor keeps checkpoints: the search retries a trial, from the trial's own checkpoint.
"""

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import psutil
import ray
import torch
from ray import train, tune
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainables.errors import ResultsError
from trainables.failures import failure_of
from trainables.records import Trial
from trainables.trial import FAILURE, RUNG, STORAGE_ERROR, Engine, TrialRun, TrialSink, next_report
from trainables.tune.narrow import TRIAL

_OVER = None
"""Marks the end of a trial's reports."""
_SIGNS_OF_A_LOST_PEER = ("gloo/transport", "Connection closed by peer", "Connection reset by peer", "NCCL")
"""What PyTorch writes into a plain RuntimeError where another process of the group has ended."""
_PATIENCE_S = 365 * 86_400
"""A trial waits for its workers as a narrow one does, however long: a cluster may have to grow first. Whether anything
goes on at all is watched by whoever drives the sweep."""


def wide_trainable(
    workloads: Sequence[Any],
    sink: TrialSink,
    *,
    workers: int,
    worker_resources: Mapping[str, float],
) -> Callable[[dict[str, Any]], None]:
    """Make the Tune function of trials that run on several workers each; the function itself needs no CPU.

    Args:
        workloads: the Ray references of what the trials of each replicate share: each worker maps the one it needs.
        sink: where their rows and checkpoints go.
        workers: processes of one trial.
        worker_resources: what each takes, by Ray's names; with a GPU, the workers speak by NCCL, else by Gloo.
    """
    return tune.with_parameters(  # type: ignore[no-any-return]  # Ray is not typed
        _run,
        workloads=list(workloads),  # references in a list are fetched by whoever needs one
        sink=sink,
        workers=workers,
        worker_resources=dict(worker_resources),
    )


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
    """Between a trial's workers and the function that Tune looks at: reports, and back that a trial was judged."""

    def __init__(self) -> None:
        self._reports: asyncio.Queue[Any] = asyncio.Queue()
        self._judged: asyncio.Queue[None] = asyncio.Queue()

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


def _run(
    config: dict[str, Any],
    *,
    workloads: list[Any],
    sink: TrialSink,
    workers: int,
    worker_resources: dict[str, float],
) -> None:
    """Run one trial on a new group of workers, and pass on what its leader reports.

    Not by Ray's ``TuneReportCallback``: it passes a group's last results and the end of this function to Tune by two
    ways, and where Tune is slow to ask, both wait for each other for ever.
    """
    os.environ.update(
        {  # Ray Train takes these from the environment only; they reach its controller and its workers
            "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(_PATIENCE_S),
            "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how late it sees that workers have ended, or died
            "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # it would restart workers itself
        }
    )
    trial: Trial = config[TRIAL]
    has_gpus = worker_resources["GPU"] > 0
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    line = ray.remote(num_cpus=0, scheduling_strategy=here)(_Line).remote()  # not where it may be lost alone
    failures: list[Exception] = []
    with tempfile.TemporaryDirectory(prefix="unlearn-sweep-train-", ignore_cleanup_errors=True) as scratch:
        trainer = TorchTrainer(
            _work,
            train_loop_config={"trial": trial, "workload": [workloads[trial.replicate]], "sink": sink, "line": line},
            torch_config=_Torch(backend="nccl" if has_gpus else "gloo"),
            scaling_config=train.ScalingConfig(
                num_workers=workers, use_gpu=has_gpus, resources_per_worker=worker_resources
            ),
            run_config=train.RunConfig(
                name=trial.trial_id,
                storage_path=scratch,
                failure_config=train.FailureConfig(
                    max_failures=0, controller_failure_limit=0, max_preemption_failures=0
                ),
            ),
        )

        def fit() -> None:
            try:
                trainer.fit()
            except Exception as error:  # it is raised below, in the thread that Tune looks at
                failures.append(error)
            finally:
                ray.get(line.put.remote(_OVER))

        threading.Thread(target=fit, name="fit", daemon=True).start()
        failed: list[dict[str, Any]] = []
        for report in iter(lambda: ray.get(line.get.remote()), _OVER):
            if FAILURE in report:
                failed.append(report[FAILURE])
            elif not failed:
                tune.report(report)  # returns once Tune asks for the next: the driver has heard of it
                if RUNG in report:
                    ray.get(line.note_judged.remote())
    ray.kill(line)
    if failed:
        tune.report({FAILURE: _most_telling(failed)})
    elif failures:
        raise failures[0]


def _most_telling(failed: list[dict[str, Any]]) -> dict[str, Any]:
    """Choose what is reported of a group that failed: the first failure, from which others may follow.

    All workers raise what the leader raised, and the leader alone has the whole traceback.
    """
    alike = [failure for failure in failed if failure["message"] == failed[0]["message"]]
    return max(alike, key=lambda failure: len(failure["details"]))


def _work(config: dict[str, Any]) -> None:
    """Run the trial in one worker. The first that fails reports it, whichever it is, and ends the group."""
    line, run = config["line"], None
    try:
        (workload,) = ray.get(config["workload"])
        engine = Engine(workload)
        try:
            run = TrialRun(engine, config["trial"], config["sink"])
            while run.outcome is None:
                report = next_report(run)
                if engine.group.is_leader:
                    ray.get(line.put.remote(report))
                    if RUNG in report:  # the others wait for the leader at the beginning of the next slice
                        ray.get(line.wait_until_judged.remote())
        except ResultsError as error:
            if engine.group.is_leader:
                ray.get(line.put.remote({STORAGE_ERROR: str(error)}))
    except Exception as error:
        if not _lost_another(error):
            failure = failure_of(error, trial=config["trial"], step=None if run is None else run.step)
            ray.get(line.put.remote({FAILURE: asdict(failure)}))
        raise


def _lost_another(error: Exception) -> bool:
    """Return whether an exception only says that another process of the group, or of Ray, does not answer any more."""
    kinds = (ray.exceptions.RayError, torch.distributed.DistError)
    return isinstance(error, kinds) or any(sign in str(error) for sign in _SIGNS_OF_A_LOST_PEER)
