"""What is done for the base and reference models of a sweep: name, train and measure them. ``preparation`` has it done
by workers.

A model's key is a hash of everything that its training depends on: sweeps share models, and a changed recipe makes new
ones.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from orchestrator.errors import StorageError
from orchestrator.identity import content_hash, file_hash
from orchestrator.ledger import RELATIVE_TO_REFERENCES, Ledger
from orchestrator.preparation.model_cache import ModelCache
from orchestrator.preparation.tasks import BASE, Baseline, ModelTask
from orchestrator.spec import SweepSpec
from trainables.config import ModelConfig
from trainables.data import Datasets, Example, build_datasets, identity
from trainables.encoding import EncodedSet, Form, encode, encode_or_stream
from trainables.errors import UnlearningError
from trainables.metrics import EvaluationSets, GenerationTask, bleu_and_chrf, evaluate
from trainables.models import generation_file, is_encoder_decoder, load_model, pretrained_files, require_kept, snapshot
from trainables.objectives import OBJECTIVES
from trainables.places import is_path
from trainables.preparation import (
    Training,
    encode_all,
    encode_scored,
    evaluation_sets,
    form_of,
    generation_task,
    prepare_tokenizer,
    tokens_hash,
    train_to_end,
    with_alternates,
)
from trainables.seeding import derive_seed
from trainables.trial import Workload


def datasets_of(spec: SweepSpec) -> Datasets:
    """Draw or read every set of a sweep.

    Raises:
        UnlearningError: the data cannot be used; or the kind of the model cannot be told.
    """
    return build_datasets(spec.data, encoder_decoder=is_encoder_decoder(spec.model))


def model_tasks(spec: SweepSpec, datasets: Datasets) -> list[ModelTask]:
    """List the models a sweep needs, the base model first."""
    roles = [BASE, *(f"reference-{index}" for index in range(spec.preparation.references))]
    recipe = {
        "model": _recipe_of(spec.model),
        "pretrained_files": {name: file_hash(file) for name, file in pretrained_files(spec.model).items()},
        "preparation": spec.preparation.model_dump(mode="json", exclude={"references", "seed"}),
        "max_tokens": spec.data.max_tokens,
        "tokenizer_texts": content_hash(identity(datasets.reference_training(), attrgetter("text"))),
        "threads": spec.resources.threads_per_trial,
    }
    tasks = []
    for role in roles:
        seed = derive_seed(spec.preparation.seed, "model", role)
        examples = content_hash(identity(_training(datasets, role)))
        key = content_hash({**recipe, "seed": seed, "examples": examples})
        tasks.append(ModelTask(role=role, seed=seed, key=key[:24]))
    return tasks


def workload_hash(spec: SweepSpec, datasets: Datasets, tasks: list[ModelTask]) -> str:
    """Hash everything that trials share and their results depend on: models, data, evaluation and stop rules."""
    return content_hash(
        {
            "models": [task.key for task in tasks],
            "data": datasets.content_hash(),
            "precision": spec.model.precision,
            **({"lora": spec.model.lora.identity()} if spec.model.lora is not None else {}),
            "max_tokens": spec.data.max_tokens,
            "retain_evaluation": spec.data.retain_evaluation,
            "evaluation": spec.evaluation.identity(),
            "stop": spec.stop.model_dump(
                mode="json", include={"max_heldout_nll_increase"}
            ),  # the rest changes no number
            "threads": spec.resources.threads_per_trial,
        }
    )


def _training(datasets: Datasets, role: str) -> Sequence[Example]:
    return datasets.base_training() if role == BASE else datasets.reference_training()


def _recipe_of(model: ModelConfig) -> dict[str, Any]:
    """Return what of a model's configuration its training depends on. A folder is one model, however it is spelled."""
    no_part = {"precision", "gradient_checkpointing", *(["lora"] if model.pretrained is None else [])}
    recipe = {name: value for name, value in model.identity().items() if name not in no_part}
    if model.pretrained is not None and is_path(model.pretrained):
        recipe["pretrained"] = os.path.realpath(model.pretrained)
    return recipe


def scored_sets(spec: SweepSpec, datasets: Datasets, tokenizer: Any) -> dict[str, EncodedSet]:
    """Tokenize every set that the sweep scores.

    Raises:
        UnlearningError: an example cannot be scored.
    """
    return encode_scored(
        tokenizer,
        datasets,
        model=spec.model,
        data=spec.data,
        evaluation=spec.evaluation,
        alternates=_needs_alternates(spec),
    )


def _needs_alternates(spec: SweepSpec) -> bool:
    return any(OBJECTIVES[config.objective].needs_alternate for config in spec.corner_configs)


def require_tokens(spec: SweepSpec, datasets: Datasets, tokenizer: Any, expected: str | None, *, whose: str) -> None:
    """Make sure that a tokenizer encodes what the sweep scores as the driver's does: a worker may have another.

    Args:
        spec: the sweep.
        datasets: its data.
        tokenizer: of this machine, or of the cache.
        expected: the hash of the driver's; None: it is not known.
        whose: where the tokenizer is from, for the message.

    Raises:
        UnlearningError: it does not.
    """
    found = tokens_hash(scored_sets(spec, datasets, tokenizer)) if expected is not None else None
    if found != expected:
        raise UnlearningError(
            f"{whose} encodes the data otherwise than the one of the machine that drives the sweep (tokens_hash "
            f"{str(found)[:12]}, there {str(expected)[:12]}); install the same versions of transformers and tokenizers "
            f"on every machine, and name one version of a hub model (model.revision: a commit)"
        )


def train_models(
    spec: SweepSpec,
    datasets: Datasets,
    tasks: Sequence[ModelTask],
    cache: ModelCache,
    ledger: Ledger,
    *,
    tokens: str | None = None,
) -> list[str | None]:
    """Train models into the cache, one after another; see ``train_model``."""
    return [train_model(spec, datasets, task, cache, ledger, tokens=tokens) for task in tasks]


def train_model(
    spec: SweepSpec,
    datasets: Datasets,
    task: ModelTask,
    cache: ModelCache,
    ledger: Ledger,
    *,
    tokens: str | None = None,
) -> str | None:
    """Train a model into the cache; say what went wrong on the way and was made good.

    Raises:
        StorageError: this machine does not see the driver's storage; or it failed.
        UnlearningError: the model does not fit the GPU; the loss became non-finite; or model, tokenizer and data do
            not go together.
    """
    ledger.stopping()  # raises where the driver's file is not seen; a stop itself is the driver's to carry out
    if cache.holds(task.key):  # another sweep was faster, or a worker died after it had finished
        return None
    tokenizer = prepare_tokenizer(spec.model, datasets)
    require_tokens(spec, datasets, tokenizer, tokens, whose="the tokenizer of a worker")
    lower = f"preparation.batch_size (now {spec.preparation.batch_size})"
    if not spec.model.gradient_checkpointing:
        lower += ", or set model.gradient_checkpointing: true"
    with _advice(f"training model '{task.role}'", lower):
        training = Training(
            model=spec.model,
            preparation=spec.preparation,
            tokenizer=tokenizer,
            examples=_training(datasets, task.role),
            max_tokens=spec.data.max_tokens,
            seed=task.seed,
            threads=spec.resources.threads_per_trial,
            use_gpu=spec.resources.gpus_per_trial > 0 and spec.preparation.epochs > 0,
        )
        try:
            warning = train_to_end(
                training,
                cache,
                task.key,
                every_s=spec.checkpoint.every_s,
                report=partial(cache.tell_training_state, task.key),
            )
            model = training.model.cpu()
            cache.store(
                task.key,
                model,
                tokenizer,
                generation_file=generation_file(spec.model),
                check=lambda folder: require_kept(model, folder, spec.model),
            )
        except StorageError:
            if not cache.holds(task.key):
                raise
            return None  # another sweep has finished the same model, and tidied up what was being written here
    return warning


@contextmanager
def _advice(what: str, lower: str) -> Iterator[None]:
    """Say what to lower where a GPU's memory ends.

    Raises:
        UnlearningError: instead of PyTorch's own error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UnlearningError(f"{what} runs out of the GPU's memory ({error}); lower {lower}") from None


def build_workload(
    spec: SweepSpec,
    datasets: Datasets,
    tasks: list[ModelTask],
    cache: ModelCache,
    ledger: Ledger,
    *,
    tokens: str | None = None,
) -> tuple[Workload, list[Baseline]]:
    """Measure base and reference models on every forget set, and pack what the trials share. Runs as a Ray task.

    Models are measured on the device that trials run on, one at a time, in fp32; on the CPU if trials cut them into
    shards, for then one GPU may not hold them.

    Raises:
        StorageError: this machine does not see the driver's storage; or it failed.
        UnlearningError: a model does not fit the GPU; or its tokenizer is not the driver's.
    """
    ledger.stopping()  # as in train_model
    torch.set_num_threads(spec.resources.threads_per_trial)
    on_gpu = spec.resources.gpus_per_trial > 0 and spec.resources.parallelism == "ddp"
    device = PartialState(cpu=not on_gpu).device
    by_role = sorted(tasks, key=attrgetter("role"))  # the base model first
    lower = f"evaluation.batch_size (now {spec.evaluation.batch_size})"
    with _advice("measuring what models know", lower), tempfile.TemporaryDirectory() as scratch:
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
            device=device,  # the attention that was asked for may run there alone
        )
        del base
        form = form_of(spec.model)
        generation = generation_task(tokenizer, datasets, spec.data, spec.evaluation, form=form)
        sets = evaluation_sets(
            encode_all(tokenizer, datasets, spec.data, spec.evaluation, form=form, chat_date=spec.model.chat_date),
            models=(load_model(folder, spec.model)[0].to(device) for folder in folders.values()),
            batch_size=spec.evaluation.batch_size,
            max_increase=spec.stop.max_heldout_nll_increase,
            generation=generation,
        )
        baselines = [
            baseline
            for place, (role, folder) in enumerate(folders.items())
            for baseline in measure_model(
                role,
                load_model(folder, spec.model)[0].to(device),
                sets,
                reference=place - 1 if place else None,  # the base model comes first
                batch_size=spec.evaluation.batch_size,
            )
        ]
    baselines += _copying(datasets, generation)
    workload = Workload(
        base=weights,
        evaluation_sets=sets,
        retain=encode_or_stream(
            tokenizer, datasets.retain, max_tokens=spec.data.max_tokens, form=form, chat_date=spec.model.chat_date
        ),
        alternates=_alternates(spec, tokenizer, datasets, form),
        evaluation=spec.evaluation,
        checkpoint=spec.checkpoint,
        stop=spec.stop,
        precision=spec.model.precision,
        threads=spec.resources.threads_per_trial,
        parallelism=spec.resources.parallelism,
        gradient_checkpointing=spec.model.gradient_checkpointing,
        use_gpu=spec.resources.gpus_per_trial > 0,
    )
    return workload, baselines


def _alternates(spec: SweepSpec, tokenizer: Any, datasets: Datasets, form: Form) -> dict[str, EncodedSet]:
    """Encode the forget examples with their alternate answers, if an objective that may come up needs them."""
    if not _needs_alternates(spec):
        return {}
    return {
        name: encode(
            tokenizer,
            with_alternates(own.forget),
            max_tokens=spec.data.max_tokens,
            form=form,
            chat_date=spec.model.chat_date,
        )
        for name, own in datasets.forget_sets.items()
    }


def measure_model(
    role: str, model: Any, sets: Mapping[str, EvaluationSets], *, reference: int | None, batch_size: int
) -> list[Baseline]:
    """Measure a model on every forget set, before any unlearning.

    A reference model is measured against the other references. The only one has no other: what is measured against
    references is null then, ``unlearning_quality`` included, which would be of another measure than the trials'.

    Args:
        role: of the model.
        model: on the device that it is measured on.
        sets: by forget set.
        reference: its place among the reference models; None: it is none of them.
        batch_size: examples in one forward pass.
    """
    found = []
    for name, own in sets.items():
        others = own if reference is None else own.without_reference(reference)
        evaluation, _ = evaluate(model, others, batch_size=batch_size, step=0, tokens_seen=0, elapsed_s=0.0)
        metrics = asdict(evaluation)
        if reference is not None and not len(others.reference_logp_SN):
            metrics |= dict.fromkeys(RELATIVE_TO_REFERENCES)
        found.append(Baseline(model=role, forget_set=name, metrics=metrics))
    return found


def _copying(datasets: Datasets, generation: GenerationTask | None) -> list[Baseline]:
    """Measure what copying its sources would earn an encoder-decoder model: a BLEU below that is none."""
    if generation is None:
        return []
    sources = [example.prompt for example in datasets.heldout[: len(generation.references)]]
    bleu, chrf = bleu_and_chrf(sources, generation.references)
    return [
        Baseline(model="copy", forget_set=name, metrics={"bleu": bleu, "chrf": chrf}) for name in datasets.forget_sets
    ]
