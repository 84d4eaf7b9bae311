"""The ascent loop: forget batches in, one optimizer step at a time, through Accelerate."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator

from trainables import objectives
from trainables.config import TrialConfig
from trainables.distributed import WorkerGroup, full_tensor
from trainables.models import WeightsSnapshot, checkpoints, movement_warning, negated
from trainables.optim import build_optimizer, curvature, learning_rate_at
from trainables.torch_seeding import seeded_torch
from trainables.trial.batch_plan import AscentData, BatchPlan, MicroBatch, StepBatch


class DivergedError(ArithmeticError):
    """The loss or a gradient is NaN or infinite; the step was not taken."""


class Ascent:
    """One trajectory in progress: a model being ascended on a forget set, step by step.

    Everything random in step s is a function of (seed, s), so the state after s steps does not depend on where the
    trajectory will end, nor on having been interrupted. The model is changed in place; it must hold the base weights.

    The workers of a team take each step together, each on its share of the batch. Losses are shares of the step's mean,
    so that their gradients add up to the one of the whole batch; with ``compat`` each is a mean, and they are averaged.
    """

    def __init__(
        self,
        *,
        accelerator: Accelerator,
        group: WorkerGroup,
        model: Any,
        base: WeightsSnapshot,
        reference: Any = None,
        data: AscentData,
        config: TrialConfig,
        seed: int,
        horizon: int | None = None,
    ) -> None:
        self._accelerator = accelerator
        self._group = group
        self._model = model
        self._base = base
        self._reference = reference
        self._config = config
        self._weights = config.objective_weights
        self._objective = objectives.check_objective(config.objective, self._weights, compat=config.compat)
        self._steps = BatchPlan(data, config, retains=self._objective.retains(self._weights), seed=seed, group=group)
        self._seed = seed
        self._horizon = horizon
        self.step = 0
        self.tokens_seen = 0
        optimizer = build_optimizer(model.parameters(), config)
        optimizer.zero_grad(set_to_none=True)  # a reused model may carry the gradients of its last trial
        self._optimizer = accelerator.prepare_optimizer(optimizer)

    def advance(self, to_step: int) -> None:
        """Ascend to ``to_step``.

        Raises:
            DivergedError: a loss or gradient was not finite; ``step`` is the last good step.
        """
        self._model.train()
        while self.step < to_step:
            self._take(self.step + 1)

    def _take(self, number: int) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate_at(number, self._config, self._horizon)
        step = self._steps.step(number)
        self._accelerator.gradient_accumulation_steps = len(step.parts)
        # Accelerate divides by the number of micro-batches, and gradients are averaged over the workers; our losses are
        # shares of the step's already, unless compat wants that average
        undivided = len(step.parts) * self._group.size if self._config.compat is None else 1
        if curvature.is_due(self._optimizer.optimizer, number):
            self._estimate_curvature(number, step)
        with seeded_torch(self._seed, "dropout", number, *self._dropout_stream):
            for micro_batch in step.micro_batches(self._accelerator.device):
                with self._accelerator.accumulate(self._model):
                    loss = self._loss(step, micro_batch)
                    shared_loss = self._group.all_reduce_sum(loss.detach())  # all go on, or none
                    if not torch.isfinite(shared_loss):
                        raise self._diverged(number, "the loss", shared_loss)
                    self._accelerator.backward(loss * undivided)
                    if self._accelerator.sync_gradients:
                        limit = self._config.clip_norm if self._config.clip_norm is not None else float("inf")
                        norm = self._accelerator.clip_grad_norm_(self._model.parameters(), limit)
                        if norm is not None and not torch.isfinite(full_tensor(norm)):
                            raise self._diverged(number, "the gradient norm", full_tensor(norm))
                    self._optimizer.step()
                    self._optimizer.zero_grad(set_to_none=True)
        self.step = number
        self.tokens_seen += step.num_tokens

    def _loss(self, step: StepBatch, micro_batch: MicroBatch) -> torch.Tensor:
        return objectives.compute(
            self._config.objective,
            self._model,
            micro_batch.forget,
            reference_model=self._reference,
            retain_batch=micro_batch.retain,
            alternate_batch=micro_batch.alternate,
            compat=self._config.compat,
            forget_counts=step.forget_counts,
            retain_counts=step.retain_counts,
            **self._weights,
        )

    def _estimate_curvature(self, number: int, step: StepBatch) -> None:
        """Tell the optimizer of the curvature of the forget batch's likelihood, before the step is taken."""
        with seeded_torch(self._seed, "curvature", number, *self._dropout_stream):
            for indices, _ in step.parts:
                with self._accelerator.accumulate(self._model):
                    loss = curvature.drawn_nll(
                        self._model,
                        step.data.forget,
                        indices,
                        targets=step.num_tokens,
                        device=self._accelerator.device,
                        seed=self._seed,
                        step=number,
                    )
                    self._accelerator.backward(loss * (len(step.parts) * self._group.size))
        norm = self._accelerator.clip_grad_norm_(self._model.parameters(), float("inf"))
        if norm is not None and not torch.isfinite(full_tensor(norm)):
            raise self._diverged(number, "the norm of the curvature's gradient", full_tensor(norm))
        self._optimizer.optimizer.estimate_curvature(step.num_tokens)

    @property
    def _dropout_stream(self) -> tuple[int, ...]:
        """Name this worker's stream beside the leader's, which is the one of a worker alone."""
        return () if self._group.is_leader else (self._group.rank,)

    def _diverged(self, step: int, what: str, value: torch.Tensor) -> DivergedError:
        self._optimizer.zero_grad(set_to_none=True)
        return DivergedError(f"step {step}: {what} is {float(value.detach())}")

    @contextmanager
    def evaluated(self) -> Iterator[Any]:
        """Give the model in the form in which it is evaluated and used; then it is as it was, bit for bit.

        For most objectives it is the model that is ascended. Of a task vector it is the negation; checkpoints keep what
        was trained.
        """
        if not self._objective.negates:
            yield self._model
            return
        with negated(self._bare_model, self._base, self._objective.settings(self._weights)["scale"]):
            yield self._model

    def movement_warning(self) -> str | None:
        """Say that hardly anything has moved since the first step, if so."""
        return movement_warning(self._bare_model, self._base, self._config, self._group) if self.step else None

    def pack(self, elapsed_s: float) -> bytes:
        """Serialise the trajectory's state; the leader of a team has the payload."""
        progress = checkpoints.Progress(step=self.step, tokens_seen=self.tokens_seen, elapsed_s=elapsed_s)
        return checkpoints.pack(self._bare_model, self._optimizer.optimizer, progress, self._group)

    @property
    def state_bytes(self) -> int:
        """How large ``pack`` would make it, about."""
        return checkpoints.state_bytes(self._bare_model, self._optimizer.optimizer)

    def unpack(self, payload: bytes) -> checkpoints.Progress:
        """Go back to a packed state; the payload of a team's leader counts."""
        progress = checkpoints.unpack(payload, self._bare_model, self._optimizer.optimizer, self._group)
        self.step, self.tokens_seen = progress.step, progress.tokens_seen
        return progress

    @property
    def _bare_model(self) -> Any:
        """The model by its own names, without what makes its workers share gradients."""
        return self._accelerator.unwrap_model(self._model)
