"""A group of workers under Ray Train, which run one function together, and report to whoever has started them.

Ray Train neither retries nor keeps checkpoints here: whoever has started the group does.
"""

import asyncio
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psutil
import ray
import torch
from ray import train
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainables.trial import FAILURE

_OVER = None
"""Marks the end of a group's reports."""
_LEAVING_S = 10.0
"""How long a group that is not needed any more may take to end by itself."""
_SIGNS_OF_A_LOST_PEER = ("gloo/transport", "Connection closed by peer", "Connection reset by peer", "NCCL")
"""What PyTorch writes into a plain RuntimeError where another process of the group has ended."""
_PATIENCE_S = 365 * 86_400
"""The work waits for its workers as that of one worker does, however long: a cluster may have to grow first. Whether
anything goes on at all is watched by whoever drives the sweep."""
_RAY_TRAIN = {
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(_PATIENCE_S),
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how late it sees that workers have ended, or died
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # it would restart workers itself
}
"""What Ray Train takes from the environment only; it reaches its controller and its workers."""


class Line:
    """Between the workers of a group and whoever has started it: what they report."""

    def __init__(self) -> None:
        self._reports: asyncio.Queue[Any] = asyncio.Queue()

    async def put(self, report: Any) -> None:
        """Add a report."""
        await self._reports.put(report)

    async def get(self) -> Any:
        """Wait for the next report and return it."""
        return await self._reports.get()


class TrainGroup:
    """A group of workers as whoever has started it sees it.

    Reports do not go by Ray's ``TuneReportCallback``: it passes a group's last results and its end to Tune by two ways,
    and where Tune is slow to ask, both wait for each other for ever.
    """

    def __init__(
        self,
        work: Callable[[dict[str, Any]], None],
        config: Mapping[str, Any],
        *,
        workers: int,
        worker_resources: Mapping[str, float],
        line: type[Line] = Line,
    ) -> None:
        """Start the group, without waiting for it.

        Args:
            work: what every worker does; it puts reports on ``config["line"]``, and fails within ``reported_failures``.
            config: what it is given, beside the line. References in a list are fetched by whoever needs one.
            workers: number of processes.
            worker_resources: what each takes, by Ray's names; with a GPU, the workers speak by NCCL, else by Gloo.
            line: the class of the line.
        """
        os.environ.update(_RAY_TRAIN)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.line = ray.remote(num_cpus=0, scheduling_strategy=here)(line).remote()  # not where it may be lost alone
        self._error: Exception | None = None
        has_gpus = worker_resources["GPU"] > 0
        self._scratch = tempfile.TemporaryDirectory(prefix="unlearn-sweep-train-", ignore_cleanup_errors=True)
        self._trainer = TorchTrainer(
            work,
            train_loop_config={**config, "line": self.line},
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
        except Exception as error:  # it is raised by next_report, in the thread that waits for it
            self._error = error
        finally:
            ray.get(self.line.put.remote(_OVER))

    @property
    def is_over(self) -> bool:
        """Whether the workers have ended."""
        return not self._thread.is_alive()

    def next_report(self) -> dict[str, Any]:
        """Wait for the next report and return it; of a group in which any worker failed, the most telling failure.

        Raises:
            Exception: as Ray says that a worker has died.
        """
        report = ray.get(self.line.get.remote())
        if report is _OVER:
            assert self._error is not None
            raise self._error
        if FAILURE in report:
            later = iter(lambda: ray.get(self.line.get.remote()), _OVER)
            return {FAILURE: most_telling([report[FAILURE], *(one[FAILURE] for one in later if FAILURE in one)])}
        return dict(report)

    def end(self) -> None:
        """End the workers; those that are still at work, by force."""
        self._thread.join(_LEAVING_S)
        ray.kill(self.line)
        self._scratch.cleanup()


@contextmanager
def reported_failures(line: Any, describe: Callable[[Exception], dict[str, Any]]) -> Iterator[None]:
    """Report what the block raises in one worker, and raise it, which ends the group.

    That another worker does not answer is not reported: it has ended, and the cause is its own.

    Args:
        line: the line of the group.
        describe: returns the report of an exception: ``message`` and ``details`` at least.
    """
    try:
        yield
    except Exception as error:
        if not _lost_another(error):
            ray.get(line.put.remote({FAILURE: describe(error)}))
        raise


def most_telling(failed: list[dict[str, Any]]) -> dict[str, Any]:
    """Choose what is reported of a group that failed: the first failure, from which others may follow.

    All workers raise what the leader raised, and the leader alone has the whole traceback.
    """
    alike = [failure for failure in failed if failure["message"] == failed[0]["message"]]
    return max(alike, key=lambda failure: len(failure["details"]))


def _lost_another(error: Exception) -> bool:
    """Return whether an exception only says that another process of the group, or of Ray, does not answer any more."""
    kinds = (ray.exceptions.RayError, torch.distributed.DistError)
    return isinstance(error, kinds) or any(sign in str(error) for sign in _SIGNS_OF_A_LOST_PEER)


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
