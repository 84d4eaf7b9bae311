"""What training base and reference models takes: by one worker a model, or by groups of workers, as trials run."""

from dataclasses import dataclass

from orchestrator.preparation import are_small, trains_in_groups
from orchestrator.spec import SweepSpec


@dataclass(frozen=True, kw_only=True)
class TrainingTime:
    """Seconds that training all models of a sweep takes."""

    elapsed_s: float
    worker_s: float
    """The seconds of all workers together."""


def estimate_training(
    spec: SweepSpec, *, models: int, alone_s: float, at_once: int, flops: float | None
) -> TrainingTime:
    """Return what the training of all models takes.

    A group trains one model at a time, and each of its workers computes a share of every batch. Otherwise each worker
    has models of its own: one, or where they are small all of a replicate.

    Args:
        spec: the spec of the sweep.
        models: number of models.
        alone_s: seconds that one worker would take for all of them.
        at_once: number of trials that run at once.
        flops: floating-point operations of training the models of one replicate; None: not known.
    """
    workers, batch = spec.resources.workers_per_trial, spec.preparation.batch_size
    if trains_in_groups(spec, flops):
        together_s = alone_s * -(-batch // workers) / batch
        return TrainingTime(elapsed_s=-(-models // at_once) * together_s / models, worker_s=together_s * workers)
    tasks = spec.replicates if are_small(flops) else models
    return TrainingTime(elapsed_s=-(-tasks // (at_once * workers)) * alone_s / tasks, worker_s=alone_s)
