"""Probing one model: it is made again, and probed, probe after probe. This runs where the work is done."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import extract_model_from_parallel

from orchestrator.ledger import Ledger, ProbeWriter
from orchestrator.points import StartingPoint, models_of, prepare_start, rebuild_model, replay_with
from orchestrator.preparation import BASE, SweepInputs, model_of
from orchestrator.probing.subjects import REFERENCE, Job, Subject
from trainables.config import Precision
from trainables.metrics import EvaluationSets
from trainables.models import load_model
from trainables.probes import ProbedModel, check_probe, run_probe


def prepared_start(ledger: Ledger, inputs: SweepInputs, forget_sets: Sequence[str]) -> tuple[StartingPoint, None]:
    """Return what the trials of some forget sets started from, as a Ray task: the second result says that it ended."""
    return prepare_start(ledger, inputs, forget_sets), None


def probe_model(
    job: Job,
    *,
    inputs: SweepInputs,
    start: StartingPoint,
    ledger: Ledger,
    report: Callable[[str], None] = lambda _: None,
    pause: Callable[[], None] = lambda: None,
) -> list[str]:
    """Do what is left on one model, and publish it probe by probe. Return the probes that found nothing to try.

    Args:
        job: the model and its probes.
        inputs: of the sweep.
        start: what the trials of its forget set started from.
        ledger: the ledger of the sweep.
        report: called with each task that takes time, before it starts.
        pause: called after each measurement; what it raises ends the probing.

    Raises:
        UnlearningError: a probe cannot be done, as where an extra is missing.
        RunStoppedError: the storage failed, or the sweep was taken over.
    """
    torch.set_num_threads(inputs.spec.resources.threads_per_trial)  # as for the trials: it decides how sums are rounded
    subject, writer, without = job.subject, ProbeWriter(ledger), []
    with _model_of(subject, inputs, start, ledger, report) as model, _in_precision(model, inputs.spec.model.precision):
        probed = _probed_model(subject, model, inputs, start, ledger)
        for name, given in job.probes.items():
            report(f"{subject}: {name}")
            found = []
            for record in run_probe(name, check_probe(name, given), probed):
                found.append(record)
                pause()
            if not found:
                without.append(name)
                continue
            writer.publish(subject.key, name, given, found, of=subject.columns, step=subject.step)
    return without


@contextmanager
def _model_of(
    subject: Subject, inputs: SweepInputs, start: StartingPoint, ledger: Ledger, report: Callable[[str], None]
) -> Iterator[Any]:
    """Yield the plain model of a point or a control, on its device. Every probe leaves it as it was."""
    if subject.evaluated is not None:
        replay = replay_with(ledger, subject.evaluated, inputs)
        with rebuild_model(replay, start=start, report=lambda doing: report(f"{subject}: {doing}")) as rebuilt:
            # without what mixed precision has put around its forward pass; adapters stay beside the weights
            yield extract_model_from_parallel(rebuilt.model, keep_fp32_wrapper=False)
        return
    yield _trained_model(subject.role, inputs, start, ledger)


def _trained_model(role: str, inputs: SweepInputs, start: StartingPoint, ledger: Ledger) -> Any:
    """Return the base model or a reference model, on the device that probes run on."""
    task = next(task for task in inputs.tasks if task.role == role)
    device = PartialState(cpu=not start.workload.use_gpu).device
    with tempfile.TemporaryDirectory() as scratch:
        folder = models_of(ledger).fetch(task.key, Path(scratch) / "model")
        model, _ = load_model(folder, model_of(inputs.dated.model, role))
    return model.to(device)


def _in_precision(model: Any, precision: Precision) -> torch.autocast:
    """Return a context in which a model computes in the sweep's precision, as in its trials.

    A probe changes weights inside it, so no cast of a weight is kept for later.
    """
    device = next(model.parameters()).device.type
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)


def _probed_model(
    subject: Subject, model: Any, inputs: SweepInputs, start: StartingPoint, ledger: Ledger
) -> ProbedModel:
    """Return what probes get. The seed is that of the sweep's data, so that the same is tried on every model."""
    spec, data = inputs.dated, inputs.datasets
    own = start.unlearned[subject.forget_set]
    return ProbedModel(
        model=model,
        tokenizer=start.tokenizer,
        role=subject.role,
        sets=sets_of(subject, inputs, start),
        forget=own.forget,
        heldout=data.heldout,
        retain=data.retain,
        population=own.population,
        compared_models=lambda: (
            _trained_model(role, inputs, start, ledger) for role in (BASE, *references_of(subject, inputs))
        ),
        config=spec.model,
        evaluation=spec.evaluation,
        max_tokens=spec.data.max_tokens,
        seed=spec.data.seed,
    )


def references_of(subject: Subject, inputs: SweepInputs) -> list[str]:
    """Return the roles of the reference models that a model is measured against.

    A reference model is measured against the others. The only one is measured against what it was itself: it shows no
    exposure before a probe, by definition, and after it how much the probe teaches.
    """
    references = [task.role for task in inputs.tasks if task.role.startswith(REFERENCE)]
    return [role for role in references if role != subject.role] or references


def sets_of(subject: Subject, inputs: SweepInputs, start: StartingPoint) -> EvaluationSets:
    """Return the sets of the model's forget set, with the scores of the references that it is measured against."""
    sets = start.workload.evaluation_sets[subject.forget_set]
    if subject.role in references_of(subject, inputs) or not subject.is_reference:
        return sets
    return sets.without_reference(int(subject.role.removeprefix(REFERENCE)))
