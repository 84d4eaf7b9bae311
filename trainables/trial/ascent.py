"""The ascent loop: one optimizer step at a time on batches of the forget set, through Accelerate."""

from collections.abc import Iterator, Mapping
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

    The workers of a group take each step together, each on its shard of the batch. Losses are shares of the step's
    mean, so that their gradients add up to the one of the whole batch; with ``compat`` each is a mean, and they are
    averaged.

    Args:
        accelerator: of this process.
        group: the workers that share the trial.
        model: the shared model.
        base: the base weights.
        frozen_base: the frozen base model, where the objective compares with it.
        data: what the trajectory may see.
        config: of the trial.
        seed: of the trial.
        horizon: total steps, for a schedule that depends on them.

    Raises:
        UnlearningError: the objective, the optimizer, or a setting of theirs is unknown or not allowed.
    """

    def __init__(
        self,
        *,
        accelerator: Accelerator,
        group: WorkerGroup,
        model: Any,
        base: WeightsSnapshot,
        frozen_base: Any = None,
        data: AscentData,
        config: TrialConfig,
        seed: int,
        horizon: int | None = None,
    ) -> None:
        self._accelerator = accelerator
        self._group = group
        self._model = model
        self._base = base
        self._frozen_base = frozen_base
        self._config = config
        self._settings = objectives.check_objective(config.objective, config.objective_settings, compat=config.compat)
        self._plan = BatchPlan(data, config, retains=self._settings.retains, seed=seed, group=group)
        self._seed = seed
        self._horizon = horizon
        self.step = 0
        """Steps that have been taken."""
        self.tokens_seen = 0
        """Forget targets in all batches so far, of all workers."""
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
        step = self._plan.step(number)
        self._accelerator.gradient_accumulation_steps = len(step.parts)
        # Accelerate divides by the number of micro-batches, and gradients are averaged over the workers. Our losses are
        # shares of the step's mean already, so that is undone, unless compat asks for that average.
        undivided = len(step.parts) * self._group.size if self._config.compat is None else 1
        if curvature.is_due(self._optimizer.optimizer, number):
            self._estimate_curvature(number, step)
        with seeded_torch(self._seed, "dropout", number, *self._group.random_stream):
            for micro_batch in step.micro_batches(self._accelerator.device):
                with self._accelerator.accumulate(self._model):
                    loss = self._loss(step, micro_batch)
                    shared_loss = self._group.all_reduce_sum(loss.detach())  # all workers go on, or none
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
            reference_model=self._frozen_base,
            retain_batch=micro_batch.retain,
            alternate_batch=micro_batch.alternate,
            compat=self._config.compat,
            forget_counts=step.forget_counts,
            retain_counts=step.retain_counts,
            **self._config.objective_settings,
        )

    def _estimate_curvature(self, number: int, step: StepBatch) -> None:
        """Compute the gradients from which the optimizer estimates the curvature, before the step is taken.

        It is the curvature of the forget batch's likelihood (``trainables.optim.curvature``).
        """
        with seeded_torch(self._seed, "curvature", number, *self._group.random_stream):
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

    def _diverged(self, step: int, what: str, value: torch.Tensor) -> DivergedError:
        self._optimizer.zero_grad(set_to_none=True)
        return DivergedError(f"step {step}: {what} is {float(value.detach())}")

    @contextmanager
    def evaluated_model(self) -> Iterator[Any]:
        """Yield the model as it is evaluated and used; afterwards it is as it was, bit for bit.

        For most objectives that is the model that is ascended. For a task vector it is the negation, while checkpoints
        keep what was trained.
        """
        if not isinstance(self._settings, objectives.TaskVectorSettings):
            yield self._model
            return
        with negated(self._unwrapped_model, self._base, self._settings.scale):
            yield self._model

    def movement_warning(self) -> str | None:
        """Return a warning where hardly any weight differs from the base model; None: many do, or no step was taken."""
        return movement_warning(self._unwrapped_model, self._base, self._config, self._group) if self.step else None

    def pack(self, elapsed_s: float, times: Mapping[str, float] | None = None) -> bytes:
        """Serialise the trajectory's state. The leader returns the payload, other workers of the group an empty one."""
        progress = checkpoints.Progress(
            step=self.step, tokens_seen=self.tokens_seen, elapsed_s=elapsed_s, times=times or {}
        )
        return checkpoints.pack(self._unwrapped_model, self._optimizer.optimizer, progress, self._group)

    @property
    def state_bytes(self) -> int:
        """About how many bytes ``pack`` would return."""
        return checkpoints.state_bytes(self._unwrapped_model, self._optimizer.optimizer)

    def unpack(self, payload: bytes) -> checkpoints.Progress:
        """Go back to a packed state; of a group's payloads the leader's counts.

        Raises:
            DamagedCheckpointError: the payload is not what was packed.
        """
        progress = checkpoints.unpack(payload, self._unwrapped_model, self._optimizer.optimizer, self._group)
        self.step, self.tokens_seen = progress.step, progress.tokens_seen
        return progress

    @property
    def _unwrapped_model(self) -> Any:
        """The model without the wrapper by which workers share gradients, so that parameters have their own names."""
        return self._accelerator.unwrap_model(self._model)
