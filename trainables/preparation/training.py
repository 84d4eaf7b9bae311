"""Training of a base or reference model. Cut off anywhere, it goes on from its checkpoint, to the same numbers."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate import Accelerator

from trainables.config import ModelConfig, PreparationConfig, train_steps
from trainables.data import Example
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
from trainables.preparation.baselines import form_of
from trainables.preparation.checks import require_usable
from trainables.preparation.training_state import TOLD_EVERY_S, TrainingState
from trainables.records import CheckpointStore
from trainables.seeding import derive_seed
from trainables.torch_seeding import seeded_torch


class Training:
    """One model in training: AdamW, warm-up in steps, then constant. Deterministic on CPU.

    Everything random in step s is a function of (seed, s), so the state after s steps does not depend on interruptions.
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
        self._accelerator = Accelerator(mixed_precision="no", cpu=not use_gpu)
        network = new_model(model, tokenizer=tokenizer, seed=seed)
        self._encoded = encode_or_stream(
            tokenizer, examples, max_tokens=max_tokens, form=form_of(model), chat_date=model.chat_date
        )
        source = self._encoded
        looked_at = source.select(source.extremes if isinstance(source, StreamedSet) else range(len(source)))
        require_usable(network, tokenizer, looked_at, pretrained=model.pretrained is not None)
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
        self.steps = train_steps(len(self._encoded), preparation)
        """Of the whole training."""
        self._loss: torch.Tensor | None = None
        self._network.train()

    @property
    def loss(self) -> float | None:
        """Of the last step's batch, in nats per token; None: this process took no step yet. Waits for the device."""
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
        """Say how far it is.

        Args:
            left_s: seconds that the rest will take, if that is known.
        """
        epochs = self._preparation.epochs
        return TrainingState(step=self.step, steps=self.steps, epochs=epochs, loss=self.loss, left_s=left_s)

    def pack(self) -> bytes:
        """Serialise the state."""
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
    tell: Callable[[TrainingState], None] = lambda _: None,
) -> str | None:
    """Take all steps, from the checkpoint if there is one, and save one after every ``every_s`` seconds.

    Args:
        training: the model.
        store: of checkpoints.
        key: of the model.
        every_s: seconds between two checkpoints.
        clock: gives seconds that only grow.
        tell: told how far the training is, at most every ``TOLD_EVERY_S`` seconds.

    Returns:
        What went wrong on the way and was made good, if anything.
    """
    warning = _restore(training, store, key)
    first, began = training.step, clock()
    last_checkpoint = last_told = began
    while training.step < training.steps:
        training.advance()
        if training.step == training.steps:
            break
        now = clock()
        if now - last_told >= TOLD_EVERY_S:
            left_s = (now - began) / (training.step - first) * (training.steps - training.step)
            tell(training.state(left_s=left_s))
            last_told = now
        if now - last_checkpoint >= every_s:
            store.save_checkpoint(key, training.pack())
            last_checkpoint = clock()
    return warning


def _restore(training: Training, store: CheckpointStore, key: str) -> str | None:
    payload = store.load_checkpoint(key)
    if payload is not None:
        try:
            training.unpack(payload)
        except DamagedCheckpointError as error:
            return f"its checkpoint is damaged ({error}); it trains anew"
    return None
