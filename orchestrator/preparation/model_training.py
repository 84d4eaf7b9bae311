"""Training a sweep's base and reference models into the cache. ``dispatch`` has workers do it."""

from collections.abc import Sequence
from functools import partial

from orchestrator.errors import StorageError
from orchestrator.ledger import Ledger
from orchestrator.preparation.gpu_memory import explained_out_of_memory
from orchestrator.preparation.model_cache import ModelCache
from orchestrator.preparation.model_identity import model_of, training_set_of
from orchestrator.preparation.scored_tokens import require_tokens
from orchestrator.preparation.tasks import ModelTask
from orchestrator.spec import SweepSpec
from trainables.data import Datasets
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
) -> list[str | None]:
    """Train models into the cache, one after another, and return the warning of each: see ``train_model``."""
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
    """Train a model into the cache, and return a warning about a problem that was recovered from; None: there was none.

    Raises:
        StorageError: this machine does not see the driver's storage, or the storage failed.
        UnlearningError: the model does not fit the GPU; the loss became non-finite; or model, tokenizer and data do
            not fit together.
    """
    ledger.fenced.require_lease()  # raises where this machine does not see the driver's storage
    if cache.holds(task.key):  # another sweep was faster, or a worker died after it had finished
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
        )
        try:
            warning = train_to_end(
                training,
                cache,
                task.key,
                every_s=spec.checkpoint.every_s,
                report=partial(cache.record_training_state, task.key),
            )
            model = training.model.cpu()
            cache.store(
                task.key,
                model,
                tokenizer,
                generation_file=generation_file(own),
                check=lambda folder: require_kept(model, folder, own),
            )
        except StorageError:
            if not cache.holds(task.key):
                raise
            return None  # another sweep finished the same model, and removed the files that were being written here
    return warning
