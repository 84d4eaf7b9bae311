"""Building the workload that all trials share, and measuring base and reference models before any unlearning."""

import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from orchestrator.ledger import RELATIVE_TO_REFERENCES, Ledger
from orchestrator.preparation.gpu_memory import explained_out_of_memory
from orchestrator.preparation.model_cache import ModelCache
from orchestrator.preparation.model_identity import model_of
from orchestrator.preparation.scored_tokens import needs_alternates, require_tokens
from orchestrator.preparation.tasks import BASE, Baseline, Measured, ModelTask
from orchestrator.spec import SweepSpec
from trainables.data import Datasets, ForgetSet
from trainables.encoding import EncodedSet, Form, encode, encode_or_stream
from trainables.metrics import (
    EvaluationSets,
    GenerationTask,
    ScoredOnce,
    SetScores,
    bleu_and_chrf,
    chosen_metrics,
    evaluate,
    score_set,
)
from trainables.models import generation_file, load_model, snapshot
from trainables.preparation import (
    bucket_members,
    encode_all,
    encode_answers,
    evaluation_sets,
    form_of,
    generation_task,
    scored_examples,
    selection,
    with_alternates,
)
from trainables.trial import Workload

_OF_TRIALS = {"step", "status", "tokens_seen", "elapsed_s"}
"""Columns of an evaluation that say nothing of a model before unlearning."""


def build_workload(
    spec: SweepSpec,
    datasets: Datasets,
    tasks: list[ModelTask],
    cache: ModelCache,
    ledger: Ledger,
    *,
    tokens: str | None = None,
    unlearned: Collection[str] | None = None,
) -> tuple[Workload, Measured]:
    """Measure base and reference models on every forget set, and return what the trials share and the measurements.

    Buckets of forget sets (``data.forget_sets.NAME.buckets``) have the examples that the ledger names, or where it
    names none those that the measurements tell.

    Models are measured on the device that trials run on, one at a time, in fp32; on the CPU if trials cut them into
    shards, since one GPU may not hold them then. In a sweep this runs as a Ray task.

    Args:
        spec: the spec of the replicate.
        datasets: its data.
        tasks: its models.
        cache: where they are kept.
        ledger: of the sweep.
        tokens: see ``require_tokens``.
        unlearned: names of the forget sets and buckets that trials unlearn; None: all.

    Raises:
        StorageError: this machine does not see the driver's storage, or the storage failed.
        UnlearningError: a model does not fit the GPU; or its tokenizer is not the driver's.
    """
    ledger.fenced.require_lease()  # as in train_model
    torch.set_num_threads(spec.resources.threads_per_trial)
    on_gpu = spec.resources.gpus_per_trial > 0 and spec.resources.parallelism == "ddp"
    device = PartialState(cpu=not on_gpu).device
    by_role = sorted(tasks, key=attrgetter("role"))  # the base model first
    lower = f"evaluation.batch_size (now {spec.evaluation.batch_size})"
    with explained_out_of_memory("measuring what models know", lower), tempfile.TemporaryDirectory() as scratch:
        scorers = [ScoredOnce() for _ in by_role]
        folders = {task.role: cache.fetch(task.key, Path(scratch) / task.role) for task in by_role}
        base, tokenizer = load_model(folders[BASE], spec.model)
        require_tokens(
            spec, datasets, tokenizer, tokens, whose=f"the tokenizer kept with the model in .models/{by_role[0].key}"
        )
        weights = snapshot(
            base,
            attention=spec.model.attention,
            lora=spec.model.lora,
            origin=spec.model,
            generation_file=generation_file(spec.model, folders[BASE]),
            device=device,  # the requested attention may run there only
        )
        del base
        form = form_of(spec.model)
        generation = generation_task(tokenizer, datasets, spec.data, spec.evaluation, form=form)
        options: dict[str, Any] = {"form": form, "chat_date": spec.model.chat_date}
        encoded = encode_all(tokenizer, datasets, spec.data, spec.evaluation, **options)
        sets = evaluation_sets(
            encoded,
            models=(load_model(folder, model_of(spec.model, role))[0].to(device) for role, folder in folders.items()),
            scorers=scorers,
            batch_size=spec.evaluation.batch_size,
            max_increase=spec.stop.max_heldout_nll_increase,
            selected=selection(len(datasets.heldout), spec.evaluation.selection_share, spec.data.seed),
            generation=generation,
            metrics=chosen_metrics(spec.evaluation),
            examples={
                name: {**own, **datasets.evaluation} for name, own in scored_examples(datasets, spec.data).items()
            },
            tokenizer=tokenizer,
            answers=encode_answers(tokenizer, datasets, spec.data, spec.evaluation, encoded, **options),
        )
        members = bucket_members(sets, spec.data, _recorded_members(ledger, tasks[0].replicate))
        sets |= {bucket.name: sets[bucket.parent].with_examples(forget=own) for bucket, own in members.items()}
        sets = {name: own for name, own in sets.items() if unlearned is None or name in unlearned}
        baselines = [
            baseline
            for place, (role, folder) in enumerate(folders.items())
            for baseline in measure_model(
                role,
                load_model(folder, model_of(spec.model, role))[0].to(device),
                sets,
                reference=place - 1 if place else None,  # the base model comes first
                batch_size=spec.evaluation.batch_size,
                score=scorers[place],
            )
        ]
    baselines += _copying(datasets, sets, generation)
    buckets = {
        bucket.name: datasets.forget_sets[bucket.parent].part(bucket.name, own)
        for bucket, own in members.items()
        if bucket.name in sets
    }
    workload = Workload(
        base=weights,
        evaluation_sets=sets,
        retain=encode_or_stream(
            tokenizer, datasets.retain, max_tokens=spec.data.max_tokens, form=form, chat_date=spec.model.chat_date
        ),
        alternates=_alternates(spec, tokenizer, {**datasets.forget_sets, **buckets}, form),
        evaluation=spec.evaluation,
        checkpoint=spec.checkpoint,
        stop=spec.stop,
        precision=spec.model.precision,
        threads=spec.resources.threads_per_trial,
        parallelism=spec.resources.parallelism,
        gradient_checkpointing=spec.model.gradient_checkpointing,
        plugins=spec.plugins,
        use_gpu=spec.resources.gpus_per_trial > 0,
    )
    return workload, Measured(baselines=baselines, buckets=buckets)


def _recorded_members(ledger: Ledger, replicate: int) -> dict[str, list[str]]:
    """Return the ids of the examples of every forget set and bucket of a replicate that the ledger knows."""
    found: dict[str, list[str]] = {}
    for row in ledger.forget_examples().to_pylist():
        if row["replicate"] == replicate:
            found.setdefault(row["forget_set"], []).append(row["example_id"])
    return found


def _alternates(
    spec: SweepSpec, tokenizer: Any, forget_sets: Mapping[str, ForgetSet], form: Form
) -> dict[str, EncodedSet]:
    """Return the forget examples with their alternate answers, encoded; empty if no possible objective needs them."""
    if not needs_alternates(spec):
        return {}
    return {
        name: encode(
            tokenizer,
            with_alternates(own.forget),
            max_tokens=spec.data.max_tokens,
            form=form,
            chat_date=spec.model.chat_date,
        )
        for name, own in forget_sets.items()
    }


def measure_model(
    role: str,
    model: Any,
    sets: Mapping[str, EvaluationSets],
    *,
    reference: int | None,
    batch_size: int,
    score: Callable[..., SetScores] = score_set,
) -> list[Baseline]:
    """Measure a model on every forget set, before any unlearning.

    A reference model is measured against the other references. A single reference has no others: the metrics that
    compare with references are null then, including ``unlearning_quality``, which would have another meaning than in
    the trials.

    Args:
        role: the role of the model.
        model: the model, on the device that it is measured on.
        sets: the evaluation sets by forget set.
        reference: the model's place among the reference models; None: it is not one of them.
        batch_size: examples in one forward pass.
        score: ``score_set``, or what stands for it.
    """
    found = []
    for name, own in sets.items():
        others = own if reference is None else own.without_reference(reference)
        evaluation, _ = evaluate(
            model, others, batch_size=batch_size, step=0, tokens_seen=0, elapsed_s=0.0, score=score
        )
        metrics = {name: value for name, value in evaluation.columns().items() if name not in _OF_TRIALS}
        if reference is not None and not others.references:
            metrics |= dict.fromkeys(RELATIVE_TO_REFERENCES)
        found.append(Baseline(model=role, forget_set=name, metrics=metrics))
    return found


def _copying(datasets: Datasets, names: Iterable[str], generation: GenerationTask | None) -> list[Baseline]:
    """Return the scores that an encoder-decoder model would get by copying its sources: a lower BLEU means nothing."""
    if generation is None:
        return []
    sources = [example.prompt for example in datasets.heldout[: len(generation.references)]]
    bleu, chrf = bleu_and_chrf(sources, generation.references)
    return [Baseline(model="copy", forget_set=name, metrics={"bleu": bleu, "chrf": chrf}) for name in names]
