"""A Ray session for one sweep: the cluster that ``RAY_ADDRESS`` names, or a fresh one on this machine."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.errors import RunStoppedError, StorageError, SweepError
from orchestrator.hardware import hardware
from orchestrator.spec import ResourcesConfig
from trainables.errors import UnlearningError

_TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the ledger is the log: 19 ms a trial instead of 50-100
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # orchestrator.interrupt has it
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's own snapshots are disposable
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

PROBE_LIMIT_S = 60.0
"""Seconds that the machines of a cluster have to say what they are; one that is silent is left out of sweep.json."""


@contextmanager
def ray_session(resources: ResourcesConfig, *, workers: int | None) -> Iterator[None]:
    """Connect to Ray, or start it; what was started is shut down at the end."""
    for name, value in _TUNE_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if ray.is_initialized():
        yield
        return
    if os.environ.get("RAY_ADDRESS"):
        try:
            ray.init(logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise SweepError(
                f"RAY_ADDRESS={os.environ['RAY_ADDRESS']}: cannot connect to a cluster there ({error}); "
                f"start one ('ray start --head', 'ray up cluster.yaml'), or unset RAY_ADDRESS to use this machine"
            ) from error
    else:
        asked = (workers or resources.concurrent_limit or 1) * resources.cpus_per_trial
        ray.init(
            address="local",  # not a cluster that happens to run on this machine
            num_cpus=max(os.cpu_count() or 1, int(-(-asked // 1))),
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    try:
        yield
    finally:
        ray.shutdown()


def fetch(reference: Any, what: str) -> Any:
    """Get the result of a finished task.

    Raises:
        SweepError, UnlearningError: it was a user's mistake; as the task raised it.
        RunStoppedError: the task failed otherwise (a ``StorageError`` as the task raised it), or its worker died.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, SweepError | UnlearningError | StorageError):
            raise error.cause from None
        raise RunStoppedError(f"{what} failed:\n{error}") from None
    except ray.exceptions.RayError as error:
        raise RunStoppedError(f"{what}: its worker died ({str(error).splitlines()[0]})") from None


def workers_hardware() -> list[dict[str, Any]]:
    """Describe every machine of the cluster that answers within ``PROBE_LIMIT_S``."""
    probes = [
        ray.remote(num_cpus=0)(hardware)
        .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=True))
        .remote(has_gpus=node["Resources"].get("GPU", 0) > 0)
        for node in ray.nodes()
        if node["Alive"]
    ]
    answered, _ = ray.wait(probes, num_returns=len(probes), timeout=PROBE_LIMIT_S)
    found: list[dict[str, Any]] = ray.get(answered)
    return found


def concurrent_trials(resources: ResourcesConfig, *, workers: int | None) -> int:
    """Give how many trials run at once: what was asked for, capped by what the cluster holds.

    Raises:
        SweepError: not even one trial fits; with the arithmetic.
    """
    have = ray.cluster_resources()
    fits = int(have.get("CPU", 0) // resources.cpus_per_trial)
    if resources.memory_gib_per_trial:
        fits = min(fits, int(have.get("memory", 0) / 2**30 / resources.memory_gib_per_trial))
    if resources.gpus_per_trial:
        fits = min(fits, int(have.get("GPU", 0) / resources.gpus_per_trial + 1e-9))
    if fits < 1:
        raise SweepError(
            f"resources: a trial needs {resources.cpus_per_trial:g} CPUs and {resources.gpus_per_trial:g} GPUs, but "
            f"the cluster has {have.get('CPU', 0):g} CPUs and {have.get('GPU', 0):g} GPUs in all; "
            f"lower resources.cpus_per_trial or gpus_per_trial, or use a larger cluster"
        )
    return min(fits, workers or resources.concurrent_limit or fits)
