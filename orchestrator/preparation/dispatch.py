"""Ray tasks that train and measure base and reference models across the cluster.

What a task does lives in ``model_training`` and ``workloads``. Weights move between the workers and the cache
(``model_cache``) in the storage; the driver holds none, and loads no PyTorch.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from orchestrator.errors import LedgerWarning
from orchestrator.ledger import Ledger
from orchestrator.preparation.inputs import SweepInputs
from orchestrator.preparation.model_cache import ModelCache
from orchestrator.preparation.tasks import ModelTask
from orchestrator.resources import fetch
from orchestrator.spec import ResourcesConfig, SweepSpec
from trainables.data import Datasets
from trainables.deferred import Deferred

_train_models = Deferred("orchestrator.preparation.model_training", "train_models")
_build_workload = Deferred("orchestrator.preparation.workloads", "build_workload")

ONE_AFTER_ANOTHER_FLOPS = 1e11
"""Floating-point operations below which all models are trained by one worker: another would take longer to import
PyTorch."""


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
    is_small = flops is not None and flops < ONE_AFTER_ANOTHER_FLOPS
    pending: dict[Any, list[ModelTask]] = {}
    shared: list[ModelTask] = []
    begun: set[str] = set()
    for inputs in replicates:
        missing = [task for task in inputs.tasks if not cache.holds(task.key)]
        for task in inputs.tasks:
            if task not in missing:
                cache.tidy(task.key)
                on_trained(task.name)
        anew = [task for task in missing if task.key not in begun]  # ready models are the same in several
        begun |= {task.key for task in anew}
        train = remote_on_a_share(_train_models, inputs.spec.resources)
        for group in [anew] if is_small and anew else [[task] for task in anew]:
            given = (inputs.dated, inputs.datasets, group, cache, ledger)
            pending[train.remote(*given, tokens=inputs.tokens_hash)] = group
        shared += [task for task in missing if task not in anew]
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
