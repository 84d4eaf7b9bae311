"""Training base and reference models by a group of workers: how it is started, and what each worker does."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import ray

from orchestrator.errors import StorageError, TaskFailedError
from orchestrator.ledger import Ledger
from orchestrator.preparation.inputs import SweepInputs
from orchestrator.preparation.model_cache import ModelCache
from orchestrator.preparation.model_training import train_models
from trainables.distributed import current_worker_group
from trainables.errors import UserError
from trainables.failures import failure_of, first_line
from trainables.trial import FAILURE
from trainables.tune import TrainGroup, reported_failures

_WARNINGS = "warnings"
"""Key of the warning of each model, in the leader's report."""
_ERROR = "error"
"""Key of an exception that is to reach the user as it is, in the report of a failure; None: it is none of those."""


def train_in_group(parts: Sequence[SweepInputs], cache: ModelCache, ledger: Ledger) -> list[str | None]:
    """Train models by one group of workers, one after another, and return the warning of each: see ``train_model``.

    Each worker takes what a worker of a trial takes. Where one dies, another group goes on from the last checkpoint, up
    to ``resources.max_failures`` times. In a sweep this runs as a Ray task, which needs no CPU itself.

    Args:
        parts: the inputs of replicates, with those of their models that are to be trained.
        cache: where they are kept.
        ledger: of the sweep.

    Raises:
        StorageError, UnlearningError: as of ``train_model``, in any worker.
        TaskFailedError: the training failed otherwise, or workers died too often.
    """
    failures = 0
    while True:
        try:
            return _train(parts, cache, ledger)
        except _WorkerLostError as error:
            failures += 1
            if failures > parts[0].spec.resources.max_failures:
                raise TaskFailedError(*error.args) from None


class _WorkerLostError(Exception):
    """A worker of the group died, which ended the group; with a message, and what Ray says of it."""


def _train(parts: Sequence[SweepInputs], cache: ModelCache, ledger: Ledger) -> list[str | None]:
    """Train the models by one group.

    Raises:
        _WorkerLostError: it lost a worker.
        Exception: as ``train_in_group``.
    """
    resources = parts[0].spec.resources
    group = TrainGroup(
        _work,
        {"parts": parts, "cache": cache, "ledger": ledger},
        workers=resources.workers_per_trial,
        worker_resources=resources.worker_resources,
    )
    try:
        report = group.next_report()
    except Exception as error:  # whatever Ray makes of it
        message = f"one of its {resources.workers_per_trial} workers died ({first_line(_cause(error))})"
        raise _WorkerLostError(message, str(error)) from None
    finally:
        group.end()
    if FAILURE in report:
        failure = report[FAILURE]
        raise failure[_ERROR] or TaskFailedError(failure["message"], failure["details"])
    warnings: list[str | None] = report[_WARNINGS]
    return warnings


def _cause(error: Exception) -> Exception:
    """Return what Ray says of the worker that has died, or of the group if it does not say which one has."""
    failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
    died = (getattr(failure, "health_check_failure", None) for failure in failures.values())
    return next(filter(None, died), error)


def _work(config: dict[str, Any]) -> None:
    """Train the models, in one worker of the group; the leader reports the warnings."""
    group, line = current_worker_group(), config["line"]
    with reported_failures(line, _described):
        found = [
            warning
            for own in config["parts"]
            for warning in train_models(
                own.dated,
                own.datasets,
                own.tasks,
                config["cache"],
                config["ledger"],
                tokens=own.tokens_hash,
                group=group,
            )
        ]
    if group.is_leader:
        ray.get(line.put.remote({_WARNINGS: found}))


def _described(error: Exception) -> dict[str, Any]:
    return {**asdict(failure_of(error)), _ERROR: error if isinstance(error, UserError | StorageError) else None}
