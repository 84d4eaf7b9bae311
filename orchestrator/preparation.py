"""Base and reference models, trained in parallel Ray tasks and cached in the storage by content hash.

A cached model is a Hugging Face folder under ``<storage>/.models/<key>/``; it exists once ``complete.json`` does. Its
key is a hash of everything that the training depends on: sweeps share models, and a changed recipe makes new ones.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray

from orchestrator.identity import content_hash, file_hash
from orchestrator.ray_session import fetch
from orchestrator.spec import SweepSpec
from orchestrator.storage import Storage
from trainables.batching import encode
from trainables.evaluation import evaluate
from trainables.forget_sets import Datasets
from trainables.models import load_model, save_model, snapshot
from trainables.prepare import encode_all, evaluation_sets, prepare_tokenizer, train_model
from trainables.records import EvaluationRecord
from trainables.seeding import derive_seed
from trainables.trial import Workload

COMPLETE = "complete.json"
BASE = "base"

Files = dict[str, bytes]
"""A model folder's files by name; they travel through the object store, so workers need no shared disk."""


@dataclass(frozen=True, kw_only=True)
class ModelTask:
    """One model to train: its role (``base``, ``reference-0``, ...), its seed and its cache key."""

    role: str
    seed: int
    key: str


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What a model knows of a forget set before any unlearning."""

    model: str
    forget_set: str
    evaluation: EvaluationRecord


def model_tasks(spec: SweepSpec, datasets: Datasets) -> list[ModelTask]:
    """List the models a sweep needs, the base model first."""
    roles = [BASE, *(f"reference-{index}" for index in range(spec.preparation.references))]
    recipe = {
        "model": spec.model.model_dump(mode="json", exclude={"precision", "gradient_checkpointing"}),
        "pretrained_files": _folder_hashes(spec.model.pretrained),
        "preparation": spec.preparation.model_dump(mode="json", exclude={"references", "seed"}),
        "max_tokens": spec.data.max_tokens,
        "tokenizer_texts": content_hash([example.text for example in datasets.reference_training()]),
        "threads": spec.resources.threads_per_trial,
    }
    tasks = []
    for role in roles:
        seed = derive_seed(spec.preparation.seed, "model", role)
        examples = [asdict(example) for example in _training(datasets, role)]
        key = content_hash({**recipe, "seed": seed, "examples": content_hash(examples)})
        tasks.append(ModelTask(role=role, seed=seed, key=key[:24]))
    return tasks


def workload_hash(spec: SweepSpec, datasets: Datasets, tasks: list[ModelTask]) -> str:
    """Hash everything that trials share and their results depend on: models, data, evaluation and stop rules."""
    return content_hash(
        {
            "models": [task.key for task in tasks],
            "data": datasets.content_hash(),
            "precision": spec.model.precision,
            "max_tokens": spec.data.max_tokens,
            "retain_evaluation": spec.data.retain_evaluation,
            "evaluation": spec.evaluation.model_dump(mode="json"),
            "stop": spec.stop.model_dump(mode="json"),
            "threads": spec.resources.threads_per_trial,
        }
    )


def _training(datasets: Datasets, role: str) -> list[Any]:
    return datasets.base_training() if role == BASE else datasets.reference_training()


def _folder_hashes(pretrained: str | None) -> dict[str, str]:
    folder = Path(pretrained) if pretrained is not None else None
    if folder is None or not folder.is_dir():
        return {}  # a hub id is named by its revision
    return {path.name: file_hash(path) for path in sorted(folder.iterdir()) if path.is_file()}


class ModelCache:
    """Trained models in a storage, by key."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage.child(".models")

    def load(self, key: str) -> Files | None:
        """Read a model's files; None where it is not there whole."""
        marker = self._storage.read(f"{key}/{COMPLETE}")
        if marker is None:
            return None
        files = {name: self._storage.read(f"{key}/{name}") for name in json.loads(marker)["files"]}
        return {name: content for name, content in files.items() if content is not None}

    def store(self, key: str, files: Files) -> None:
        """Write a model's files; the marker comes last."""
        for name, content in files.items():
            self._storage.publish(f"{key}/{name}", content)
        self._storage.publish(f"{key}/{COMPLETE}", json.dumps({"files": sorted(files)}).encode())


def train_missing(
    spec: SweepSpec,
    datasets: Datasets,
    tasks: list[ModelTask],
    cache: ModelCache,
    *,
    on_trained: Callable[[str], None],
    wait: Callable[[Mapping[Any, ModelTask]], Any],
) -> dict[str, Files]:
    """Load every model, training those that the cache lacks as parallel Ray tasks.

    Args:
        spec: the sweep.
        datasets: its data.
        tasks: its models.
        cache: where they are kept.
        on_trained: called with the role of each model as it becomes available.
        wait: given the tasks by Ray reference, waits for one and returns its reference (and notices an interruption).
    """
    models: dict[str, Files] = {}
    pending: dict[Any, ModelTask] = {}
    train = ray.remote(num_cpus=spec.resources.cpus_per_trial, num_gpus=spec.resources.gpus_per_trial)(_train)
    for task in tasks:
        files = cache.load(task.key)
        if files is not None:
            models[task.role] = files
            on_trained(task.role)
        else:
            pending[train.remote(spec, datasets, task)] = task
    while pending:
        done = wait(pending)
        task = pending.pop(done)
        models[task.role] = fetch(done, f"training model '{task.role}'")
        cache.store(task.key, models[task.role])
        on_trained(task.role)
    return models


def _train(spec: SweepSpec, datasets: Datasets, task: ModelTask) -> Files:
    tokenizer = prepare_tokenizer(spec.model, datasets)
    model = train_model(
        model=spec.model,
        preparation=spec.preparation,
        tokenizer=tokenizer,
        examples=_training(datasets, task.role),
        max_tokens=spec.data.max_tokens,
        seed=task.seed,
        threads=spec.resources.threads_per_trial,
    )
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, tokenizer, Path(folder))
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def build_workload(spec: SweepSpec, datasets: Datasets, models: Mapping[str, Files]) -> tuple[Workload, list[Baseline]]:
    """Measure base and reference models on every forget set, and pack what the trials share. Runs as a Ray task."""
    loaded = {}
    for role, files in models.items():
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            loaded[role] = load_model(Path(folder))
    base, tokenizer = loaded[BASE]
    references = [model for role, (model, _) in sorted(loaded.items()) if role != BASE]
    sets = {
        name: evaluation_sets(
            encoded,
            base=base,
            references=references,
            batch_size=spec.evaluation.batch_size,
            max_increase=spec.stop.max_heldout_nll_increase,
        )
        for name, encoded in encode_all(tokenizer, datasets, spec.data, spec.evaluation).items()
    }
    baselines = []
    for role, (model, _) in sorted(loaded.items()):
        for name, own in sets.items():
            evaluation, _ = evaluate(
                model, own, batch_size=spec.evaluation.batch_size, step=0, tokens_seen=0, elapsed_s=0.0
            )
            baselines.append(Baseline(model=role, forget_set=name, evaluation=evaluation))
    workload = Workload(
        base=snapshot(base),
        evaluation_sets=sets,
        retain=encode(tokenizer, datasets.retain, max_tokens=spec.data.max_tokens),
        evaluation=spec.evaluation,
        checkpoint=spec.checkpoint,
        precision=spec.model.precision,
        threads=spec.resources.threads_per_trial,
        parallelism=spec.resources.parallelism,
        gradient_checkpointing=spec.model.gradient_checkpointing,
    )
    return workload, baselines
