"""Base and reference models: which a sweep needs, trained and measured in Ray tasks across the cluster.

Weights go between the workers and the cache (``model_cache``) in the storage; the driver carries none. A model's key is
a hash of everything that its training depends on: sweeps share models, and a changed recipe makes new ones.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import ray
import torch
from accelerate import PartialState

from orchestrator.errors import LedgerWarning, StorageError
from orchestrator.identity import content_hash, file_hash
from orchestrator.ledger import Ledger
from orchestrator.model_cache import ModelCache
from orchestrator.ray_session import fetch
from orchestrator.spec import ResourcesConfig, SweepSpec
from trainables.batching import encode
from trainables.errors import UnlearningError
from trainables.evaluation import EvaluationSets, evaluate
from trainables.forget_sets import Datasets
from trainables.models import load_model, snapshot
from trainables.prepare import encode_all, evaluation_sets, prepare_tokenizer
from trainables.records import EvaluationRecord
from trainables.seeding import derive_seed
from trainables.training import Training, train_to_end
from trainables.trial import Workload

BASE = "base"


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
            "stop": spec.stop.model_dump(
                mode="json", include={"max_heldout_nll_increase"}
            ),  # the rest changes no number
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


def train_missing(
    spec: SweepSpec,
    datasets: Datasets,
    tasks: list[ModelTask],
    cache: ModelCache,
    ledger: Ledger,
    *,
    on_trained: Callable[[str], None],
    wait: Callable[[Mapping[Any, ModelTask]], Any],
) -> None:
    """Train the models that the cache lacks as parallel Ray tasks, which read and write the cache themselves.

    A task whose worker dies is run again ``resources.max_failures`` times, and goes on from its last checkpoint.

    Args:
        spec: the sweep.
        datasets: its data.
        tasks: its models.
        cache: where they are kept; every machine of the cluster sees it.
        ledger: the sweep's, by which each machine makes sure that it does.
        on_trained: called with the role of each model as it becomes available.
        wait: given the tasks by Ray reference, waits for one and returns its reference (and notices an interruption).
    """
    pending: dict[Any, ModelTask] = {}
    train = remote_on_a_share(_train, spec.resources)
    for task in tasks:
        if cache.holds(task.key):
            cache.tidy(task.key)
            on_trained(task.role)
        else:
            pending[train.remote(spec, datasets, task, cache, ledger)] = task
    while pending:
        done = wait(pending)
        task = pending.pop(done)
        warning = fetch(done, f"training model '{task.role}'")
        if warning is not None:
            warnings.warn(f"model '{task.role}': {warning}", LedgerWarning, stacklevel=2)
        on_trained(task.role)


def remote_on_a_share(function: Callable[..., Any], resources: ResourcesConfig) -> Any:
    """Make a Ray task of a function that takes what one worker of a trial takes, and is retried as a trial is."""
    share = resources.worker_resources
    return ray.remote(
        num_cpus=share["CPU"],
        num_gpus=share["GPU"],
        memory=share.get("memory", 0),
        max_retries=resources.max_failures,
    )(function)


def _train(spec: SweepSpec, datasets: Datasets, task: ModelTask, cache: ModelCache, ledger: Ledger) -> str | None:
    """Train a model into the cache; say what went wrong on the way and was made good.

    Raises:
        StorageError: this machine does not see the driver's storage; or it failed.
        UnlearningError: the model does not fit the GPU; or the loss became non-finite.
    """
    ledger.stopping()  # raises where the driver's file is not seen; a stop itself is the driver's to carry out
    if cache.holds(task.key):  # another sweep was faster, or a worker died after it had finished
        return None
    tokenizer = prepare_tokenizer(spec.model, datasets)
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
            use_gpu=spec.resources.gpus_per_trial > 0,
        )
        try:
            warning = train_to_end(training, cache, task.key, every_s=spec.checkpoint.every_s)
            cache.store(task.key, training.model.cpu(), tokenizer)
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


def start_building(
    spec: SweepSpec, datasets: Datasets, tasks: list[ModelTask], cache: ModelCache, ledger: Ledger
) -> tuple[Any, Any]:
    """Start ``build_workload`` as a Ray task; give the references of the workload and of the baselines."""
    task = remote_on_a_share(build_workload, spec.resources).options(
        num_returns=2,
        max_retries=-1,  # its result lives on a machine that may vanish any number of times; Ray makes it again
    )
    workload, baselines = task.remote(spec, datasets, tasks, cache, ledger)
    return workload, baselines


def build_workload(
    spec: SweepSpec, datasets: Datasets, tasks: list[ModelTask], cache: ModelCache, ledger: Ledger
) -> tuple[Workload, list[Baseline]]:
    """Measure base and reference models on every forget set, and pack what the trials share. Runs as a Ray task.

    Models are measured on the device that trials run on, one at a time, in fp32; on the CPU if trials cut them into
    shards, for then one GPU may not hold them.

    Raises:
        StorageError: this machine does not see the driver's storage; or it failed.
        UnlearningError: a model does not fit the GPU.
    """
    ledger.stopping()  # as in _train
    torch.set_num_threads(spec.resources.threads_per_trial)
    on_gpu = spec.resources.gpus_per_trial > 0 and spec.resources.parallelism == "ddp"
    device = PartialState(cpu=not on_gpu).device
    by_role = sorted(tasks, key=attrgetter("role"))  # the base model first
    lower = f"evaluation.batch_size (now {spec.evaluation.batch_size})"
    with _advice("measuring what models know", lower), tempfile.TemporaryDirectory() as scratch:
        folders = {task.role: cache.fetch(task.key, Path(scratch) / task.role) for task in by_role}
        base, tokenizer = load_model(folders[BASE])
        weights = snapshot(base)
        del base
        sets = evaluation_sets(
            encode_all(tokenizer, datasets, spec.data, spec.evaluation),
            models=(load_model(folder)[0].to(device) for folder in folders.values()),
            batch_size=spec.evaluation.batch_size,
            max_increase=spec.stop.max_heldout_nll_increase,
        )
        baselines = [
            baseline
            for role, folder in folders.items()
            for baseline in _baselines(role, load_model(folder)[0].to(device), sets, spec.evaluation.batch_size)
        ]
    workload = Workload(
        base=weights,
        evaluation_sets=sets,
        retain=encode(tokenizer, datasets.retain, max_tokens=spec.data.max_tokens),
        evaluation=spec.evaluation,
        checkpoint=spec.checkpoint,
        stop=spec.stop,
        precision=spec.model.precision,
        threads=spec.resources.threads_per_trial,
        parallelism=spec.resources.parallelism,
        gradient_checkpointing=spec.model.gradient_checkpointing,
        use_gpu=spec.resources.gpus_per_trial > 0 and spec.preparation.epochs > 0,
    )
    return workload, baselines


def _baselines(role: str, model: Any, sets: Mapping[str, EvaluationSets], batch_size: int) -> list[Baseline]:
    return [
        Baseline(model=role, forget_set=name, evaluation=evaluation)
        for name, own in sets.items()
        for evaluation, _ in [evaluate(model, own, batch_size=batch_size, step=0, tokens_seen=0, elapsed_s=0.0)]
    ]
