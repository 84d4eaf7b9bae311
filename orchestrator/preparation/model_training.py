"""Training a sweep's base and reference models into the cache. ``dispatch`` has workers do it, alone or in a group.

Of a group the leader alone uses the cache and the ledger; what it raises there, all raise.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from orchestrator.errors import StorageError
from orchestrator.ledger import Ledger
from orchestrator.preparation.gpu_memory import explained_out_of_memory
from orchestrator.preparation.model_cache import ModelCache
from orchestrator.preparation.model_identity import model_of, training_set_of
from orchestrator.preparation.scored_tokens import require_tokens
from orchestrator.preparation.tasks import ModelTask
from orchestrator.spec import SweepSpec
from trainables.config import ModelConfig
from trainables.data import Datasets
from trainables.distributed import ALONE, WorkerGroup
from trainables.models import generation_file, require_kept
from trainables.preparation import Training, prepare_tokenizer, train_to_end


def train_models(
    spec: SweepSpec,
    datasets: Datasets,
    tasks: Sequence[ModelTask],
    cache: ModelCache,
    ledger: Ledger,
    *,
    tokens: str | None = None,
    group: WorkerGroup = ALONE,
) -> list[str | None]:
    """Train models into the cache, one after another, and return the warning of each: see ``train_model``."""
    return [train_model(spec, datasets, task, cache, ledger, tokens=tokens, group=group) for task in tasks]


def train_model(
    spec: SweepSpec,
    datasets: Datasets,
    task: ModelTask,
    cache: ModelCache,
    ledger: Ledger,
    *,
    tokens: str | None = None,
    group: WorkerGroup = ALONE,
) -> str | None:
    """Train a model into the cache, and return a warning about a problem that was recovered from; None: there was none.

    Args:
        spec: the spec of the replicate.
        datasets: its data.
        task: the model.
        cache: where it is kept.
        ledger: of the sweep.
        tokens: see ``require_tokens``.
        group: the workers that train it together, all of which call this.

    Raises:
        StorageError: this machine does not see the driver's storage, or the storage failed.
        UnlearningError: the model does not fit the GPU; the loss became non-finite; or model, tokenizer and data do
            not fit together.
    """
    decide = group.broadcast_result
    decide(ledger.fenced.require_lease)  # raises where this machine does not see the driver's storage
    if decide(partial(cache.holds, task.key)):  # another sweep was faster, or a worker died after it had finished
        return None
    own = model_of(spec.model, task.role)
    tokenizer = prepare_tokenizer(spec.model, datasets)
    require_tokens(spec, datasets, tokenizer, tokens, whose="the tokenizer of a worker")
    lower = f"preparation.batch_size (now {spec.preparation.batch_size})"
    if not spec.model.gradient_checkpointing:
        lower += ", or set model.gradient_checkpointing: true"
    with explained_out_of_memory(f"training model '{task.name}'", lower):
        training = Training(
            model=own,
            preparation=spec.preparation,
            tokenizer=tokenizer,
            examples=training_set_of(datasets, task.role),
            max_tokens=spec.data.max_tokens,
            seed=task.seed,
            threads=spec.resources.threads_per_trial,
            use_gpu=spec.resources.gpus_per_trial > 0 and spec.preparation.epochs > 0,
            group=group,
            parallelism=spec.resources.parallelism if group.size > 1 else "ddp",
        )
        try:
            warning = train_to_end(
                training,
                cache,
                task.key,
                every_s=spec.checkpoint.every_s,
                report=partial(cache.record_training_state, task.key),
            )
            whole = training.whole_model()
            decide(lambda: _store(whole.cpu(), tokenizer, cache, task, own))
        except StorageError:
            if not decide(partial(cache.holds, task.key)):
                raise
            return None  # another sweep finished the same model, and removed the files that were being written here
    return warning


def _store(model: Any, tokenizer: Any, cache: ModelCache, task: ModelTask, own: ModelConfig) -> None:
    """Write a trained model into the cache, once what was written loads as the same model."""
    cache.store(
        task.key,
        model,
        tokenizer,
        generation_file=generation_file(own),
        check=lambda folder: require_kept(model, folder, own),
    )
