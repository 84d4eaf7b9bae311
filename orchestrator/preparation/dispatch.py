"""Ray tasks that train and measure base and reference models across the cluster.

What a task does lives in ``model_training``, ``group_training`` and ``workloads``. Weights move between the workers and
the cache (``model_cache``) in the storage; the driver holds none, and loads no PyTorch.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.errors import LedgerWarning
from orchestrator.ledger import Ledger
from orchestrator.preparation.inputs import SweepInputs
from orchestrator.preparation.model_cache import ModelCache
from orchestrator.preparation.tasks import ModelTask, are_small, trains_in_groups
from orchestrator.resources import capacity, fetch
from orchestrator.spec import ResourcesConfig, SweepSpec
from trainables.data import Datasets
from trainables.deferred import Deferred

_train_models = Deferred("orchestrator.preparation.model_training", "train_models")
_train_in_group = Deferred("orchestrator.preparation.group_training", "train_in_group")
_build_workload = Deferred("orchestrator.preparation.workloads", "build_workload")

_Missing = Sequence[tuple[SweepInputs, Sequence[ModelTask]]]
"""The models of each replicate that are to be trained."""


def train_missing(
    replicates: Sequence[SweepInputs],
    cache: ModelCache,
    ledger: Ledger,
    *,
    flops: float | None = None,
    on_trained: Callable[[str], None],
    wait: Callable[[Mapping[Any, Sequence[ModelTask]]], Any],
) -> None:
    """Train the models that the cache lacks as parallel Ray tasks, which read and write the cache; small ones as one
    for each replicate.

    Where trials take several workers (``resources.workers_per_trial``), so do models, unless they are small.

    A task whose worker dies is retried up to ``resources.max_failures`` times, and continues from its last checkpoint.

    Args:
        replicates: the data and the models of each replicate of the sweep.
        cache: the cache of the models; every machine of the cluster sees it.
        ledger: the ledger of the sweep, by which each machine checks that it sees the driver's storage.
        flops: floating-point operations of training the models of one replicate; None: not known.
        on_trained: called with the name of each model as it becomes available.
        wait: called with the tasks by Ray reference; waits for one and returns its reference (and notices an
            interruption).
    """
    missing: list[tuple[SweepInputs, list[ModelTask]]] = []
    shared: list[ModelTask] = []
    begun: set[str] = set()
    for inputs in replicates:
        anew: list[ModelTask] = []
        for task in inputs.tasks:
            if cache.holds(task.key):
                cache.tidy(task.key)
                on_trained(task.name)
            else:  # ready models are the same in several replicates
                (shared if task.key in begun else anew).append(task)
        begun |= {task.key for task in anew}
        missing.append((inputs, anew))
    if trains_in_groups(replicates[0].spec, flops):
        pending = _start_groups(missing, cache, ledger)
    else:
        pending = _start_workers(missing, cache, ledger, one_after_another=are_small(flops))
    while pending:
        done = wait(pending)
        group = pending.pop(done)
        named = ", ".join(f"'{task.name}'" for task in group)
        problems: list[str | None] = fetch(done, f"training model{'s' * (len(group) > 1)} {named}")
        for task, warning in zip(group, problems, strict=True):
            if warning is not None:
                warnings.warn(f"model '{task.name}': {warning}", LedgerWarning, stacklevel=2)
            on_trained(task.name)
    for task in shared:
        on_trained(task.name)


def _start_workers(
    missing: _Missing, cache: ModelCache, ledger: Ledger, *, one_after_another: bool
) -> dict[Any, Sequence[ModelTask]]:
    """Start training by one worker for each model, or for all of a replicate; return the models by Ray reference."""
    pending: dict[Any, Sequence[ModelTask]] = {}
    for inputs, anew in missing:
        train = remote_on_a_share(_train_models, inputs.spec.resources)
        for own in [anew] if one_after_another and anew else [[task] for task in anew]:
            given = (inputs.dated, inputs.datasets, own, cache, ledger)
            pending[train.remote(*given, tokens=inputs.tokens_hash)] = own
    return pending


def _start_groups(missing: _Missing, cache: ModelCache, ledger: Ledger) -> dict[Any, Sequence[ModelTask]]:
    """Start training by as many groups as the cluster has room for; return their models by Ray reference.

    Models are dealt to the groups, each of which trains its own one after another: it takes longer to start a group
    than to go on to the next model, and the models of a sweep take about equally long.
    """
    parts = [replace(inputs.without_tokens(), tasks=[task]) for inputs, anew in missing for task in anew]
    if not parts:
        return {}
    resources = parts[0].spec.resources
    groups = min(len(parts), max(1, capacity().trials(resources)))
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)  # not lost alone
    # its workers take what the models take, and it retries by itself: what Ray had reserved for the workers of a task
    # that has died stays reserved as long as the session lasts, and another would wait for it
    train = ray.remote(num_cpus=0, scheduling_strategy=here, max_retries=0)(_train_in_group.as_function())
    dealt = [parts[first::groups] for first in range(groups)]
    return {train.remote(own, cache, ledger): [task for part in own for task in part.tasks] for own in dealt}


def remote_on_a_share(function: Deferred, resources: ResourcesConfig) -> Any:
    """Return a function as a Ray task with the resources of one worker of a trial, which is retried like a trial."""
    share = resources.worker_resources
    return ray.remote(
        num_cpus=share["CPU"],
        num_gpus=share["GPU"],
        memory=share.get("memory", 0),
        max_retries=resources.max_failures,
    )(function.as_function())


def start_building(
    spec: SweepSpec, datasets: Datasets, tasks: list[ModelTask], cache: ModelCache, ledger: Ledger, **options: Any
) -> tuple[Any, Any]:
    """Start ``build_workload`` with its ``options`` as a Ray task, and return references of its two results."""
    task = remote_on_a_share(_build_workload, spec.resources).options(
        num_returns=2,
        max_retries=-1,  # its result lives on a machine that may vanish any number of times; Ray rebuilds it
    )
    workload, measured = task.remote(spec, datasets, tasks, cache, ledger, **options)
    return workload, measured
