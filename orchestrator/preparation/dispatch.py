"""Base and reference models: trained and measured in Ray tasks across the cluster. What a task does is ``model_work``.

Weights go between the workers and the cache (``model_cache``) in the storage; the driver carries none, and loads no
PyTorch.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from orchestrator.errors import LedgerWarning
from orchestrator.ledger import Ledger
from orchestrator.preparation.model_cache import ModelCache
from orchestrator.preparation.tasks import ModelTask
from orchestrator.resources import fetch
from orchestrator.spec import ResourcesConfig, SweepSpec
from trainables.data import Datasets
from trainables.deferred import Deferred

_train_models = Deferred("orchestrator.preparation.work", "train_models")
_build_workload = Deferred("orchestrator.preparation.work", "build_workload")


ONE_AFTER_ANOTHER_FLOPS = 1e11
"""Models that take less to train are trained by one worker: another would take longer to import PyTorch."""


def train_missing(
    spec: SweepSpec,
    datasets: Datasets,
    tasks: list[ModelTask],
    cache: ModelCache,
    ledger: Ledger,
    *,
    tokens: str | None = None,
    flops: float | None = None,
    on_trained: Callable[[str], None],
    wait: Callable[[Mapping[Any, Sequence[ModelTask]]], Any],
) -> None:
    """Train the models that the cache lacks as parallel Ray tasks, which read and write the cache themselves; small
    ones as one task.

    A task whose worker dies is run again ``resources.max_failures`` times, and goes on from its last checkpoint.

    Args:
        spec: the sweep.
        datasets: its data.
        tasks: its models.
        cache: where they are kept; every machine of the cluster sees it.
        ledger: the sweep's, by which each machine makes sure that it does.
        tokens: the hash of what is scored, as this machine's tokenizer encodes it.
        flops: the arithmetic of training all of them; None: it is not known.
        on_trained: called with the role of each model as it becomes available.
        wait: given the tasks by Ray reference, waits for one and returns its reference (and notices an interruption).
    """
    missing = [task for task in tasks if not cache.holds(task.key)]
    for task in tasks:
        if task not in missing:
            cache.tidy(task.key)
            on_trained(task.role)
    is_small = flops is not None and flops < ONE_AFTER_ANOTHER_FLOPS
    groups = [missing] if is_small and missing else [[task] for task in missing]
    train = remote_on_a_share(_train_models, spec.resources)
    pending = {train.remote(spec, datasets, group, cache, ledger, tokens=tokens): group for group in groups}
    while pending:
        done = wait(pending)
        group = pending.pop(done)
        named = ", ".join(f"'{task.role}'" for task in group)
        said: list[str | None] = fetch(done, f"training model{'s' * (len(group) > 1)} {named}")
        for task, warning in zip(group, said, strict=True):
            if warning is not None:
                warnings.warn(f"model '{task.role}': {warning}", LedgerWarning, stacklevel=2)
            on_trained(task.role)


def remote_on_a_share(function: Deferred, resources: ResourcesConfig) -> Any:
    """Make a Ray task of a function that takes what one worker of a trial takes, and is retried as a trial is."""
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
    """Start ``build_workload``, with its ``options``, as a Ray task; give the references of workload and baselines."""
    task = remote_on_a_share(_build_workload, spec.resources).options(
        num_returns=2,
        max_retries=-1,  # its result lives on a machine that may vanish any number of times; Ray makes it again
    )
    workload, baselines = task.remote(spec, datasets, tasks, cache, ledger, **options)
    return workload, baselines
