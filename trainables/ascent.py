"""The ascent loop: forget batches in, one optimizer step at a time, through Accelerate."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator

from trainables import checkpoints, curvature, objectives
from trainables.batching import BatchOrder, EncodedSet, collate
from trainables.config import TrialConfig
from trainables.optimizers import build_optimizer, learning_rate_at
from trainables.parallel import whole
from trainables.seeding import derive_seed, torch_stream
from trainables.team import Team


class DivergedError(ArithmeticError):
    """The loss or a gradient is NaN or infinite; the step was not taken."""


class Ascent:
    """One trajectory in progress: a model being ascended on a forget set, step by step.

    Everything random in step s is a function of (seed, s), so the state after s steps does not depend on where the
    trajectory will end, nor on having been interrupted. The model is changed in place; it must hold the base weights.

    The workers of a team take each step together, each on its share of the batch. Losses are shares of the step's mean,
    so that their gradients add up to the one of the whole batch.
    """

    def __init__(
        self,
        *,
        accelerator: Accelerator,
        team: Team,
        model: Any,
        forget: EncodedSet,
        retain: EncodedSet,
        config: TrialConfig,
        seed: int,
        horizon: int | None = None,
    ) -> None:
        self._accelerator = accelerator
        self._team = team
        self._model = model
        self._forget = forget
        self._retain = retain
        self._config = config
        self._objective = objectives.check_objective(config.objective, config.objective_weights)
        self._seed = seed
        self._horizon = horizon
        self._forget_order = BatchOrder(
            num_examples=len(forget), batch_size=config.batch_size, seed=derive_seed(seed, "forget")
        )
        self._retain_order = BatchOrder(
            num_examples=len(retain), batch_size=min(config.batch_size, len(forget)), seed=derive_seed(seed, "retain")
        )
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

    def _take(self, step: int) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate_at(step, self._config, self._horizon)
        forget_indices = self._forget_order.indices(step)
        retain_indices = self._retain_order.indices(step)
        forget_targets = int(self._forget.num_targets_N[forget_indices].sum())
        retain_targets = int(self._retain.num_targets_N[retain_indices].sum())
        micro_batches = list(self._micro_batches(forget_indices, retain_indices))
        self._accelerator.gradient_accumulation_steps = len(micro_batches)
        if curvature.is_due(self._optimizer.optimizer, step):
            self._estimate_curvature(step, [forget_micro for forget_micro, _ in micro_batches], forget_targets)
        with torch_stream(self._seed, "dropout", step, *self._dropout_stream):
            for forget_micro, retain_micro in micro_batches:
                with self._accelerator.accumulate(self._model):
                    loss = objectives.compute(
                        self._config.objective,
                        self._model,
                        collate(self._forget, forget_micro, device=self._accelerator.device),
                        retain_batch=collate(self._retain, retain_micro, device=self._accelerator.device)
                        if self._objective.needs_retain
                        else None,
                        forget_targets=forget_targets,
                        retain_targets=retain_targets,
                        **self._config.objective_weights,
                    )
                    shared_loss = self._team.total(loss.detach())  # all go on, or none
                    if not torch.isfinite(shared_loss):
                        raise self._diverged(step, "the loss", shared_loss)
                    # Accelerate divides by the number of micro-batches, and gradients are averaged over the workers;
                    # our losses are shares of the step's already
                    self._accelerator.backward(loss * (len(micro_batches) * self._team.size))
                    if self._accelerator.sync_gradients:
                        limit = self._config.clip_norm if self._config.clip_norm is not None else float("inf")
                        norm = self._accelerator.clip_grad_norm_(self._model.parameters(), limit)
                        if norm is not None and not torch.isfinite(whole(norm)):
                            raise self._diverged(step, "the gradient norm", whole(norm))
                    self._optimizer.step()
                    self._optimizer.zero_grad(set_to_none=True)
        self.step = step
        self.tokens_seen += forget_targets

    def _estimate_curvature(self, step: int, micro_batches: list[npt.NDArray[np.int64]], targets: int) -> None:
        """Tell the optimizer of the curvature of the forget batch's likelihood, before the step is taken."""
        with torch_stream(self._seed, "curvature", step, *self._dropout_stream):
            for indices in micro_batches:
                with self._accelerator.accumulate(self._model):
                    loss = curvature.drawn_nll(
                        self._model,
                        self._forget,
                        indices,
                        targets=targets,
                        device=self._accelerator.device,
                        seed=self._seed,
                        step=step,
                    )
                    self._accelerator.backward(loss * (len(micro_batches) * self._team.size))
        norm = self._accelerator.clip_grad_norm_(self._model.parameters(), float("inf"))
        if norm is not None and not torch.isfinite(whole(norm)):
            raise self._diverged(step, "the norm of the curvature's gradient", whole(norm))
        self._optimizer.optimizer.estimate_curvature(targets)

    def _micro_batches(
        self, forget: npt.NDArray[np.int64], retain: npt.NDArray[np.int64]
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """Cut this worker's share of both batches into near-equal parts, each of at most ``micro_batch_size`` examples.

        All workers have as many parts as the largest share needs. A smaller share, and a retain set smaller than the
        forget batch, leave some parts empty.
        """
        largest_share = -(-len(forget) // self._team.size)
        parts = -(-largest_share // (self._config.micro_batch_size or largest_share))
        forget, retain = self._team.share(forget), self._team.share(retain)
        return zip(np.array_split(forget, parts), np.array_split(retain, parts), strict=True)

    @property
    def _dropout_stream(self) -> tuple[int, ...]:
        """Name this worker's stream beside the leader's, which is the one of a worker alone."""
        return () if self._team.leads else (self._team.rank,)

    def _diverged(self, step: int, what: str, value: torch.Tensor) -> DivergedError:
        self._optimizer.zero_grad(set_to_none=True)
        return DivergedError(f"step {step}: {what} is {float(value.detach())}")

    def pack(self, elapsed_s: float) -> bytes:
        """Serialise the trajectory's state; the leader of a team has the payload."""
        progress = checkpoints.Progress(step=self.step, tokens_seen=self.tokens_seen, elapsed_s=elapsed_s)
        return checkpoints.pack(self._bare_model, self._optimizer.optimizer, progress, self._team)

    @property
    def state_bytes(self) -> int:
        """How large ``pack`` would make it, about."""
        return checkpoints.state_bytes(self._bare_model, self._optimizer.optimizer)

    def unpack(self, payload: bytes) -> checkpoints.Progress:
        """Go back to a packed state; the payload of a team's leader counts."""
        progress = checkpoints.unpack(payload, self._bare_model, self._optimizer.optimizer, self._team)
        self.step, self.tokens_seen = progress.step, progress.tokens_seen
        return progress

    @property
    def _bare_model(self) -> Any:
        """The model by its own names, without what makes its workers share gradients."""
        return self._accelerator.unwrap_model(self._model)
