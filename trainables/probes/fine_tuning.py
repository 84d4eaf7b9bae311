"""Fine-tuning of a probed model on a few examples, step by step."""

from typing import Any

import numpy as np
import torch

from trainables.encoding import BatchOrder, EncodedSet, collate
from trainables.metrics import score_batch
from trainables.optim import build_optimizer, curvature
from trainables.probes.settings import RelearningSettings
from trainables.seeding import derive_seed
from trainables.torch_seeding import seeded_torch


class FineTuning:
    """A model in fine-tuning: each step minimises the mean NLL over the target tokens of its batch.

    It trains what can be trained of the model: its adapters, where it has them, else all weights. Everything random in
    step s is a function of (seed, variant, s). The model is changed in place.

    Args:
        model: the model on its device.
        encoded: what it is fine-tuned on.
        settings: optimizer, learning rate and batches.
        seed: of the probe.
        variant: names the random streams, so that no variant's batches depend on another's.
    """

    def __init__(
        self, model: Any, encoded: EncodedSet, settings: RelearningSettings, *, seed: int, variant: str
    ) -> None:
        self._model = model
        self._encoded = encoded
        self._settings = settings
        self._seed = derive_seed(seed, "relearning", variant)
        self._order = BatchOrder(num_examples=len(encoded), batch_size=settings.batch_size, seed=self._seed)
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        assert self._trained, "a model that is fine-tuned must have parameters that require a gradient"
        self._device = self._trained[0].device
        self._optimizer = build_optimizer(self._trained, settings.as_trial)
        self._optimizer.zero_grad(set_to_none=True)
        self.step = 0
        """Steps that have been taken."""
        self.tokens_seen = 0
        """Target tokens in all batches so far."""

    def advance(self, to_step: int) -> bool:
        """Fine-tune to ``to_step``, and return whether it got there; if not, a loss or gradient was not finite."""
        self._model.train()
        while self.step < to_step:
            if not self._take(self.step + 1):
                return False
        return True

    def _take(self, number: int) -> bool:
        batch = self._encoded.select(self._order.indices(number).tolist())
        num_targets = int(batch.num_targets_N.sum())
        size = self._settings.micro_batch_size or len(batch)
        parts = [np.arange(start, min(start + size, len(batch))) for start in range(0, len(batch), size)]
        if curvature.is_due(self._optimizer, number):
            self._estimate_curvature(number, batch, parts, num_targets)
        with seeded_torch(self._seed, "dropout", number):
            for part in parts:
                logp_BT = score_batch(self._model, collate(batch, part, device=self._device)).logp_BT
                loss = -logp_BT.sum() / num_targets
                if not torch.isfinite(loss):
                    return False
                loss.backward()  # type: ignore[no-untyped-call]
        limit = self._settings.clip_norm if self._settings.clip_norm is not None else float("inf")
        if not torch.isfinite(torch.nn.utils.clip_grad_norm_(self._trained, limit)):
            return False
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step = number
        self.tokens_seen += num_targets
        return True

    def _estimate_curvature(self, number: int, batch: EncodedSet, parts: list[Any], num_targets: int) -> None:
        """Compute the gradients from which the optimizer estimates the curvature (``trainables.optim.curvature``)."""
        assert isinstance(self._optimizer, curvature.TakesCurvature)
        with seeded_torch(self._seed, "curvature", number):
            for part in parts:
                loss = curvature.drawn_nll(
                    self._model,
                    batch,
                    part,
                    targets=num_targets,
                    device=self._device,
                    seed=self._seed,
                    step=number,
                )
                loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.estimate_curvature(num_targets)
