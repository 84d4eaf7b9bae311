"""A Ray session for one sweep: the cluster that ``RAY_ADDRESS`` names, or a fresh one on this machine."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.tune import TuneError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.driver import Interrupt
from orchestrator.errors import AUTHENTICATION_ADVICE, RunStoppedError, StorageError, SweepError, TaskFailedError
from orchestrator.resources.cluster_capacity import Capacity, NodeKind, declared_kinds
from orchestrator.resources.hardware import describe_machine
from orchestrator.resources.local_ray import local_ray
from orchestrator.resources.ray_environment import (
    TUNE,
    ProjectAlone,
    give_actors_no_variables,
    keep_trackers_out,
    protect_token,
    silence,
    variables,
)
from orchestrator.spec import ResourcesConfig
from trainables.errors import UserError
from trainables.failures import first_line

PROBE_LIMIT_S = 60.0
"""Seconds that the machines of a cluster have to answer; one that is silent is left out of sweep.json."""
AUTOSCALING = Path("~/ray_bootstrap_config.yaml")
"""Where ``ray up`` puts a cluster's configuration on its head."""


@contextmanager
def ray_session(
    resources: ResourcesConfig,
    *,
    workers: int | None,
    on_loss: Callable[[RunStoppedError], None] = lambda _: None,
    last_words: str = "",
) -> Iterator[None]:
    """Connect to Ray, or start it. What was started is shut down at the end.

    Args:
        resources: of a trial.
        workers: trials at once.
        on_loss, last_words: see ``local_ray``.

    Raises:
        SweepError: there is no cluster where ``RAY_ADDRESS`` says, or it is of another version.
        RunStoppedError: Ray did not start here, or failed while it was used.
    """
    give_actors_no_variables()
    keep_trackers_out()
    protect_token()
    silence()
    with variables(TUNE), _explained():
        if ray.is_initialized():
            yield
        elif starts_here():
            asked = (workers or resources.concurrent_limit or 1) * resources.cpus_per_trial
            cpus = max(os.cpu_count() or 1, int(-(-asked // 1)))
            with local_ray(cpus=cpus, on_loss=on_loss, last_words=last_words):
                yield
        else:
            try:
                _connect(os.environ["RAY_ADDRESS"])
                yield
            finally:
                ray.shutdown()


def starts_here() -> bool:
    """Return whether the next session is a Ray of this process's own, whose workers have its files and variables."""
    return not ray.is_initialized() and os.environ.get("RAY_ADDRESS", "local") == "local"


@contextmanager
def _explained() -> Iterator[None]:
    """Turn a failure of Ray itself, not of what runs on it, into one message.

    Raises:
        RunStoppedError: in place of Ray's own error.
    """
    try:
        yield
    except (ray.exceptions.RayError, TuneError) as error:
        raise RunStoppedError(
            f"Ray failed ({type(error).__name__}: {' '.join(str(error).split())[:200]}); see whether the machine, or "
            f"the cluster ('ray status'), still runs and has memory left"
        ) from None


def _connect(address: str) -> None:
    """Connect to a cluster.

    Raises:
        SweepError: there is none, or it refuses this driver.
    """
    alone = {} if address.startswith("ray://") else {"job_config": ProjectAlone()}  # Ray Client sees to it itself
    try:
        ray.init(logging_level=logging.CRITICAL, log_to_driver=False, **alone)
    except ray.exceptions.AuthenticationError as error:
        raise SweepError(f"RAY_ADDRESS={address}: the cluster refuses the token; {AUTHENTICATION_ADVICE}") from error
    except (ConnectionError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())
        if "version mismatch" in said.lower():
            raise SweepError(
                f"RAY_ADDRESS={address}: the cluster has another Ray or Python than this driver ({said}); install the "
                f"cluster's here, or send the sweep there with 'unlearn-sweep submit'"
            ) from error
        raise SweepError(
            f"RAY_ADDRESS={address}: cannot connect to a cluster there ({said}); "
            f"start one ('ray start --head', 'ray up cluster.yaml'), or unset RAY_ADDRESS to use this machine"
        ) from error


LOOK_EVERY_S = 0.5
"""Seconds between two looks at tasks that run."""


def first_done(
    references: list[Any], interrupt: Interrupt, *, limit_s: float, look: Callable[[], None] = lambda: None
) -> Any:
    """Wait for the first of some tasks to end. Return its reference; None: none ended in time.

    Args:
        references: of the tasks.
        interrupt: what ends the wait, by raising its reason.
        limit_s: the longest wait, seconds.
        look: called every ``LOOK_EVERY_S`` seconds.
    """
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        interrupt.raise_if_set()
        look()
        done, _ = ray.wait(references, timeout=LOOK_EVERY_S)
        if done:
            return done[0]
    return None


def fetch(reference: Any, what: str) -> Any:
    """Return the result of a finished task.

    Raises:
        SweepError, UnlearningError: it was a user's mistake; as the task raised it.
        StorageError: as the task raised it.
        TaskFailedError: the task failed otherwise, or its worker died.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError | StorageError):
            raise error.cause from None
        if isinstance(error.cause, TaskFailedError):  # of workers that the task has started, with their traceback
            raise TaskFailedError(f"{what} failed: {error.cause}", error.cause.details) from None
        cause = error.cause if isinstance(error.cause, Exception) else error
        raise TaskFailedError(f"{what} failed: {first_line(cause)}", str(error)) from None
    except ray.exceptions.RayError as error:
        raise TaskFailedError(f"{what}: its worker died ({str(error).splitlines()[0]})", str(error)) from None


def on_every_node(task: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Run a function on every machine of the cluster.

    Returns:
        By machine, what the function returned or raised; a TimeoutError for a machine that is silent for
        ``PROBE_LIMIT_S``. A machine that was lost meanwhile is left out.
    """
    asked = {
        name: ray.remote(num_cpus=0)(task)
        .options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False))
        .remote(*arguments)
        for name, node_id in _machines().items()
    }
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=PROBE_LIMIT_S)
    answers = {name: _answer(reference) for name, reference in asked.items()}
    there = _machines()
    return {name: answer for name, answer in answers.items() if name in there or not isinstance(answer, Exception)}


def _machines() -> dict[str, str]:
    """Return the Ray ids of the machines of the cluster by name."""
    return {_name(node): node["NodeID"] for node in ray.nodes() if node["Alive"]}


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:6]})"


def _answer(reference: Any) -> Any:
    try:
        return ray.get(reference, timeout=0)
    except ray.exceptions.RayTaskError as error:
        return error.cause
    except ray.exceptions.RayError as error:  # a GetTimeoutError is one
        return TimeoutError(f"no answer ({str(error).splitlines()[0]})")


def workers_hardware() -> list[dict[str, Any]]:
    """Return a description of every machine of the cluster that answers."""
    return [found for found in on_every_node(describe_machine).values() if not isinstance(found, Exception)]


def offered_gpus() -> list[dict[str, Any]]:
    """Return the GPUs of every machine that answers and offers GPUs to Ray, which the display card of a head is not."""
    offering = {_name(node) for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) > 0}
    found = {
        name: answer for name, answer in on_every_node(describe_machine).items() if not isinstance(answer, Exception)
    }
    return [gpu for name, machine in found.items() if name in offering for gpu in machine["gpus"]]


def capacity() -> Capacity:
    """Return what the cluster has; on the head of one that ``ray up`` made, also what it may grow to."""
    present = tuple(NodeKind(count=1, resources=node["Resources"]) for node in ray.nodes() if node["Alive"])
    declared: tuple[NodeKind, ...] = ()
    if os.environ.get("RAY_ADDRESS"):  # a Ray of this process's own does not grow, whatever machine it is on
        with contextlib.suppress(OSError):
            declared = declared_kinds(yaml.safe_load(AUTOSCALING.expanduser().read_text(encoding="utf-8")))
    return Capacity(present=present, declared=declared)
