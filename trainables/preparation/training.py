"""Training of a base or reference model. Interrupted anywhere, it goes on from its checkpoint to the same numbers."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from trainables.config import ModelConfig, PreparationConfig, train_steps
from trainables.data import Example
from trainables.distributed import build_accelerator
from trainables.encoding import BatchOrder, StreamedSet, collate, encode_or_stream
from trainables.errors import UnlearningError
from trainables.metrics import score_batch
from trainables.models import (
    DamagedCheckpointError,
    add_adapters,
    checkpoints,
    enable_gradient_checkpointing,
    new_model,
)
from trainables.preparation.evaluation_data import form_of
from trainables.preparation.input_checks import require_usable
from trainables.preparation.training_state import REPORTED_EVERY_S, TrainingState
from trainables.records import CheckpointStore
from trainables.seeding import derive_seed
from trainables.torch_seeding import seeded_torch


class Training:
    """One model in training: AdamW, warm-up in steps, then constant. Deterministic on CPU.

    Everything random in step s is a function of (seed, s), so the state after s steps does not depend on interruptions.

    Args:
        model: the architecture or the pretrained model.
        preparation: the recipe.
        tokenizer: the model's tokenizer.
        examples: what it is trained on, repetitions included.
        max_tokens: the longest example that is allowed.
        seed: of initial weights, order and dropout.
        threads: intra-op threads of PyTorch.
        use_gpu: whether a GPU is used where there is one.

    Raises:
        UnlearningError: the model cannot be loaded, or something is wrong with it or with an example
            (``require_usable``).
    """

    def __init__(
        self,
        *,
        model: ModelConfig,
        preparation: PreparationConfig,
        tokenizer: Any,
        examples: Sequence[Example],
        max_tokens: int,
        seed: int,
        threads: int,
        use_gpu: bool = True,
    ) -> None:
        torch.set_num_threads(threads)
        self._preparation = preparation
        self._seed = seed
        self._accelerator = build_accelerator("fp32", "ddp", use_gpu=use_gpu)
        network = new_model(model, tokenizer=tokenizer, seed=seed)
        self._encoded = encode_or_stream(
            tokenizer, examples, max_tokens=max_tokens, form=form_of(model), chat_date=model.chat_date
        )
        source = self._encoded
        checked = source.select(source.extremes if isinstance(source, StreamedSet) else range(len(source)))
        require_usable(network, tokenizer, checked, pretrained=model.pretrained is not None)
        if model.pretrained is not None and model.lora is not None:
            network = add_adapters(network, model.lora, seed=seed)
        if model.gradient_checkpointing:
            enable_gradient_checkpointing(network)
        optimizer = torch.optim.AdamW(
            [parameter for parameter in network.parameters() if parameter.requires_grad],
            lr=preparation.learning_rate,
            weight_decay=preparation.weight_decay,
        )
        self._network, self._optimizer = self._accelerator.prepare(network, optimizer)
        self._order = BatchOrder(
            num_examples=len(self._encoded),
            batch_size=preparation.batch_size,
            seed=derive_seed(seed, "training"),
        )
        self.step = 0
        """Optimizer steps that have been taken."""
        self.steps = train_steps(len(self._encoded), preparation)
        """Optimizer steps of the whole training."""
        self._loss: torch.Tensor | None = None
        self._network.train()

    @property
    def loss(self) -> float | None:
        """NLL of the last step's batch in nats per token, waiting for the device; None: no step in this process yet."""
        return None if self._loss is None else float(self._loss)

    def advance(self) -> None:
        """Take the next step.

        Raises:
            UnlearningError: the loss became non-finite.
        """
        step, recipe = self.step + 1, self._preparation
        warm = min(1.0, step / recipe.warmup_steps) if recipe.warmup_steps else 1.0
        for group in self._optimizer.param_groups:
            group["lr"] = recipe.learning_rate * warm
        with seeded_torch(self._seed, "dropout", step):
            chosen = self._encoded.select(self._order.indices(step).tolist())
            batch = collate(chosen, range(len(chosen)), device=self._accelerator.device)
            loss = score_batch(self._network, batch).nll_per_token()
        if not torch.isfinite(loss):
            raise UnlearningError(
                f"preparation: the loss became {float(loss.detach())} at step {step}; lower preparation.learning_rate "
                f"(now {recipe.learning_rate}) or preparation.clip_norm (now {recipe.clip_norm})"
            )
        self._accelerator.backward(loss)
        self._accelerator.clip_grad_norm_(self._network.parameters(), recipe.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._loss = loss.detach()
        self.step = step

    def state(self, *, left_s: float | None) -> TrainingState:
        """Return how far the training is.

        Args:
            left_s: seconds that the rest will take; None: unknown.
        """
        epochs = self._preparation.epochs
        return TrainingState(step=self.step, steps=self.steps, epochs=epochs, loss=self.loss, left_s=left_s)

    def pack(self) -> bytes:
        """Return the state as a checkpoint."""
        return checkpoints.pack(self.model, self._optimizer.optimizer, checkpoints.Progress(step=self.step))

    def unpack(self, payload: bytes) -> None:
        """Go to a packed state.

        Raises:
            DamagedCheckpointError: the payload is not what was packed; the state is untouched.
        """
        self.step = checkpoints.unpack(payload, self.model, self._optimizer.optimizer).step

    @property
    def model(self) -> Any:
        """The model as it is now, on the device that it trains on."""
        return self._accelerator.unwrap_model(self._network)


def train_to_end(
    training: Training,
    store: CheckpointStore,
    key: str,
    *,
    every_s: float,
    clock: Callable[[], float] = time.monotonic,
    report: Callable[[TrainingState], None] = lambda _: None,
) -> str | None:
    """Take all steps, from the checkpoint if there is one, and save a checkpoint every ``every_s`` seconds.

    Args:
        training: the training.
        store: where checkpoints go.
        key: the checkpoint's key.
        every_s: seconds between two checkpoints.
        clock: a clock that never goes back, in seconds.
        report: called with how far the training is, at most every ``REPORTED_EVERY_S`` seconds.

    Returns:
        A warning of what went wrong on the way and was repaired; None: nothing.

    Raises:
        UnlearningError: the loss became non-finite.
        ResultsError: a checkpoint cannot be read or kept.
    """
    warning = _restore(training, store, key)
    first, began = training.step, clock()
    last_checkpoint = last_report = began
    while training.step < training.steps:
        training.advance()
        if training.step == training.steps:
            break
        now = clock()
        if now - last_report >= REPORTED_EVERY_S:
            left_s = (now - began) / (training.step - first) * (training.steps - training.step)
            report(training.state(left_s=left_s))
            last_report = now
        if now - last_checkpoint >= every_s:
            store.save_checkpoint(key, training.pack())
            last_checkpoint = clock()
    return warning


def _restore(training: Training, store: CheckpointStore, key: str) -> str | None:
    """Go to the checkpoint, if there is one, and return a warning where it is damaged."""
    payload = store.load_checkpoint(key)
    if payload is not None:
        try:
            training.unpack(payload)
        except DamagedCheckpointError as error:
            return f"its checkpoint is damaged ({error}); it trains from the beginning"
    return None
