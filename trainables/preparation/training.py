"""Training of a base or reference model. Interrupted anywhere, it goes on from its checkpoint to the same numbers."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from trainables.config import ModelConfig, Parallelism, PreparationConfig, train_steps
from trainables.data import Example
from trainables.distributed import ALONE, LeaderCheckpoints, WorkerGroup, build_accelerator, full_tensor, share_model
from trainables.encoding import BatchOrder, StreamedSet, collate, encode_or_stream
from trainables.errors import UnlearningError
from trainables.metrics import score_batch
from trainables.models import (
    DamagedCheckpointError,
    add_adapters,
    checkpoints,
    enable_gradient_checkpointing,
    named_tensors,
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

    The workers of a group take each step together, each on its shard of the batch. Losses are shares of the batch's
    mean, so that their gradients add up to the one of the whole batch.

    Args:
        model: the architecture or the pretrained model.
        preparation: the recipe.
        tokenizer: the model's tokenizer.
        examples: what it is trained on, repetitions included.
        max_tokens: the longest example that is allowed.
        seed: of initial weights, order and dropout.
        threads: intra-op threads of PyTorch.
        use_gpu: whether a GPU is used where there is one.
        group: the workers that train it together, all of which call every method alike.
        parallelism: how the model is distributed over them.

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
        group: WorkerGroup = ALONE,
        parallelism: Parallelism = "ddp",
    ) -> None:
        self.group = group
        self._preparation = preparation
        self._seed = seed
        self._accelerator = build_accelerator("fp32", parallelism, use_gpu=use_gpu)
        torch.set_num_threads(threads)  # after Accelerate, which has a number of its own for CPUs
        if group.size > 1:
            self._accelerator.free_memory()  # of the model that this process has trained before
        self._new_model = partial(_new_model, model, tokenizer=tokenizer, seed=seed)
        network = new_model(model, tokenizer=tokenizer, seed=seed)
        self._encoded = encode_or_stream(
            tokenizer, examples, max_tokens=max_tokens, form=form_of(model), chat_date=model.chat_date
        )
        source = self._encoded
        checked = source.select(source.extremes if isinstance(source, StreamedSet) else range(len(source)))
        require_usable(network, tokenizer, checked, pretrained=model.pretrained is not None)
        network = _with_adapters(network, model, seed=seed)
        if model.gradient_checkpointing:
            enable_gradient_checkpointing(network)
        self._network = share_model(self._accelerator, network)
        optimizer = torch.optim.AdamW(
            [parameter for parameter in self._network.parameters() if parameter.requires_grad],
            lr=preparation.learning_rate,
            weight_decay=preparation.weight_decay,
        )
        self._optimizer = self._accelerator.prepare_optimizer(optimizer)
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
        with seeded_torch(self._seed, "dropout", step, *self.group.random_stream):
            share = self._share_of_loss(step)
        loss = self.group.all_reduce_sum(share.detach())  # all workers go on, or none
        if not torch.isfinite(loss):
            raise UnlearningError(
                f"preparation: the loss became {float(loss)} at step {step}; lower preparation.learning_rate "
                f"(now {recipe.learning_rate}) or preparation.clip_norm (now {recipe.clip_norm})"
            )
        self._accelerator.backward(share * self.group.size)  # gradients are averaged over the workers
        self._accelerator.clip_grad_norm_(self._network.parameters(), recipe.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._loss = loss
        self.step = step

    def _share_of_loss(self, step: int) -> torch.Tensor:
        """Return this worker's share of the batch's NLL in nats per token; the shares of all workers add up to it."""
        chosen = self._encoded.select(self._order.indices(step).tolist())
        own = self.group.shard(np.arange(len(chosen)))  # a batch of fewer examples than workers leaves some without any
        scores = score_batch(self._network, collate(chosen, own, device=self._accelerator.device))
        return -scores.logp_BT.sum() / torch.tensor(int(chosen.num_targets_N.sum()), device=scores.logp_BT.device)

    def state(self, *, left_s: float | None) -> TrainingState:
        """Return how far the training is.

        Args:
            left_s: seconds that the rest will take; None: unknown.
        """
        epochs = self._preparation.epochs
        return TrainingState(step=self.step, steps=self.steps, epochs=epochs, loss=self.loss, left_s=left_s)

    def pack(self) -> bytes:
        """Return the state as a checkpoint, which goes on at any number of workers.

        The leader returns the payload, other workers of the group an empty one.
        """
        progress = checkpoints.Progress(step=self.step)
        return checkpoints.pack(self.model, self._optimizer.optimizer, progress, self.group)

    def unpack(self, payload: bytes) -> None:
        """Go to a packed state; of a group's payloads the leader's counts.

        Raises:
            DamagedCheckpointError: the payload is not what was packed; the state is untouched.
        """
        self.step = checkpoints.unpack(payload, self.model, self._optimizer.optimizer, self.group).step

    @property
    def model(self) -> Any:
        """The model as it is now, on the device that it trains on; where it is sharded, this worker's shards of it."""
        return self._accelerator.unwrap_model(self._network)

    def whole_model(self) -> Any:
        """Return the model as it is now: on the device that it trains on, or on the CPU where it is sharded.

        The workers but the leader return None where it is sharded: theirs is not gathered.
        """
        if not self._accelerator.is_fsdp2:
            return self.model
        whole = self._new_model() if self.group.is_leader else None
        kept = {} if whole is None else named_tensors(whole)
        with torch.no_grad():
            for name, tensor in named_tensors(self.model).items():
                complete = full_tensor(tensor.detach())  # one at a time: all may be more than a device holds
                if whole is not None:
                    kept[name].copy_(complete)
        return whole


def _new_model(model: ModelConfig, *, tokenizer: Any, seed: int) -> Any:
    """Return a model as its training begins, adapters included, on the CPU."""
    return _with_adapters(new_model(model, tokenizer=tokenizer, seed=seed), model, seed=seed)


def _with_adapters(network: Any, model: ModelConfig, *, seed: int) -> Any:
    """Add adapters to a model where they are what is trained of it."""
    if model.pretrained is None or model.lora is None:
        return network
    return add_adapters(network, model.lora, seed=seed)


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

    All workers of a group call this; the leader's clock counts, and it alone reads, saves and reports.

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
    group, kept = training.group, LeaderCheckpoints(store, training.group)
    warning = _restore(training, kept, key)
    first, began = training.step, group.broadcast_result(clock)
    last_checkpoint = last_report = began
    while training.step < training.steps:
        training.advance()
        if training.step == training.steps:
            break
        now = group.broadcast_result(clock)
        if now - last_report >= REPORTED_EVERY_S:
            state = training.state(left_s=(now - began) / (training.step - first) * (training.steps - training.step))
            group.broadcast_result(partial(report, state))
            last_report = now
        if now - last_checkpoint >= every_s:
            kept.save_checkpoint(key, training.pack())
            last_checkpoint = group.broadcast_result(clock)
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
