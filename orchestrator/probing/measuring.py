"""Probing one model: it is made again, and probed, probe after probe. This runs where the work is done."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import extract_model_from_parallel

from orchestrator.identity import canonical_json
from orchestrator.ledger import RELATIVE_TO_REFERENCES, Ledger, ProbeWriter
from orchestrator.points import StartingPoint, models_of, prepare_start, rebuild_model, replay_with
from orchestrator.preparation import SweepInputs
from orchestrator.probing.subjects import REFERENCE, Job, Subject
from trainables.config import Precision
from trainables.metrics import EvaluationSets
from trainables.models import load_model
from trainables.probes import ProbedModel, ProbeRecord, check_probe, run_probe
from trainables.records import EvaluationRecord

_NOT_KEPT = ("step", "tokens_seen", "elapsed_s")
"""Fields of an evaluation that are a trial's."""


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
        for name, given in job.probes.items():
            report(f"{subject}: {name}")
            probed = _probed_model(subject, model, inputs, start, records_of_references(ledger, subject, name, given))
            found = []
            for record in run_probe(name, check_probe(name, given), probed):
                found.append(record)
                pause()
            if not found:
                without.append(name)
                continue
            writer.publish(
                subject.key,
                name,
                given,
                found,
                of=subject.columns,
                step=subject.step,
                left_out=_meaningless(subject, inputs),
            )
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
    task = next(task for task in inputs.tasks if task.role == subject.role)
    device = PartialState(cpu=not start.workload.use_gpu).device
    with tempfile.TemporaryDirectory() as scratch:
        model, _ = load_model(models_of(ledger).fetch(task.key, Path(scratch) / "model"), inputs.dated.model)
    yield model.to(device)


def _in_precision(model: Any, precision: Precision) -> torch.autocast:
    """Return a context in which a model computes in the sweep's precision, as in its trials.

    A probe changes weights inside it, so no cast of a weight is kept for later.
    """
    device = next(model.parameters()).device.type
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False)


def _probed_model(
    subject: Subject, model: Any, inputs: SweepInputs, start: StartingPoint, references: Sequence[ProbeRecord]
) -> ProbedModel:
    """Return what a probe gets. The seed is that of the sweep's data, so that the same is tried on every model."""
    spec, data = inputs.dated, inputs.datasets
    own = data.forget_sets[subject.forget_set]
    return ProbedModel(
        model=model,
        tokenizer=start.tokenizer,
        role=subject.role,
        sets=_sets_of(subject, start),
        forget=own.forget,
        heldout=data.heldout,
        retain=data.retain,
        population=own.population,
        references=references,
        config=spec.model,
        evaluation=spec.evaluation,
        max_tokens=spec.data.max_tokens,
        seed=spec.data.seed,
    )


def records_of_references(
    ledger: Ledger, subject: Subject, probe: str, settings: Mapping[str, Any]
) -> list[ProbeRecord]:
    """Return what a probe with these settings found on the reference models; nothing for a reference model itself."""
    if subject.is_reference:
        return []
    wanted = {
        "forget_set": subject.forget_set,
        "replicate": subject.replicate,
        "probe": probe,
        "probe_settings": canonical_json(settings),
    }
    rows = [row for row in ledger.probes().to_pylist() if {name: row[name] for name in wanted} == wanted]
    return [
        ProbeRecord(
            probe=probe,
            role=row["role"],
            variant=row["variant"],
            amount=row["amount"],
            before=_evaluation(row, "before_"),
            after=_evaluation(row, ""),
            scores=dict(row["scores"]),
            elapsed_s=row["elapsed_s"],
        )
        for row in rows
        if row["role"].startswith(REFERENCE)
    ]


def _evaluation(row: Mapping[str, Any], prefix: str) -> EvaluationRecord | None:
    """Return the evaluation of a row, as far as it has columns; None: it has none."""
    if row[f"{prefix}performance"] is None:
        return None
    names = [field.name for field in fields(EvaluationRecord)]
    own = {name: row[f"{prefix}{name}"] for name in names if name not in _NOT_KEPT and f"{prefix}{name}" in row}
    kept: dict[str, Any] = {**own, **dict.fromkeys(_NOT_KEPT, 0)}
    return EvaluationRecord(**kept)


def _meaningless(subject: Subject, inputs: SweepInputs) -> Sequence[str]:
    """Return the columns that compare with references, for a reference model that is the only one."""
    references = [task for task in inputs.tasks if task.role.startswith(REFERENCE)]
    return RELATIVE_TO_REFERENCES if subject.is_reference and len(references) == 1 else ()


def _sets_of(subject: Subject, start: StartingPoint) -> EvaluationSets:
    """Return the sets of the model's forget set; a reference model is measured against the others."""
    sets = start.workload.evaluation_sets[subject.forget_set]
    if not subject.is_reference:
        return sets
    return sets.without_reference(int(subject.role.removeprefix(REFERENCE)))
