"""Sophia-G (Liu et al. 2023, arXiv 2305.14342), and the estimate of the curvature that it divides by.

Shape legend: B batch, T tokens.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pytorch_optimizer import SophiaH

from trainables.batching import Batch, EncodedSet, collate
from trainables.likelihood import score_drawn
from trainables.optimizer_settings import SophiaSettings
from trainables.seeding import generator


class Sophia(SophiaH):
    """The library's Sophia in the paper's units, told of the curvature from outside.

    With m the mean gradient and h the mean curvature, a weight moves by
    ``learning_rate * clip(m / max(gamma * h, eps), -1, 1)`` (algorithm 3). The library puts no gamma before h, so it is
    given ``gamma * h``. Nothing corrects h for having started at 0: the first steps move most weights by the whole
    learning rate.
    """

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], learning_rate: float, settings: SophiaSettings
    ) -> None:
        super().__init__(
            parameters,
            lr=learning_rate,
            betas=(settings.beta1, settings.beta2),
            eps=settings.eps,
            p=1.0,
            update_period=settings.hessian_every,
            weight_decay=settings.weight_decay,
        )
        self._gamma = settings.gamma
        self._estimate: list[torch.Tensor] | None = None

    @torch.no_grad()
    def estimate_curvature(self, num_tokens: int) -> None:
        """Take the gradients for an estimate, for the next step, and clear them.

        They are those of the mean NLL of ``num_tokens`` tokens that the model has drawn itself; squared and times their
        number they estimate the diagonal of the Gauss-Newton matrix (Gauss-Newton-Bartlett, algorithm 2).
        """
        self._estimate = [
            torch.zeros_like(p) if p.grad is None else p.grad.square() * (num_tokens * self._gamma)
            for group in self.param_groups
            for p in group["params"]
        ]
        self.zero_grad(set_to_none=True)

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]  # its second argument comes from here
        """Take a step, with the estimate if there is a new one."""
        hessian, self._estimate = self._estimate, None
        loss = super().step(closure, hessian=hessian)
        for state in self.state.values():
            state.pop("hessian", None)  # it is in the mean now
        return loss


def is_due(optimizer: torch.optim.Optimizer, step: int) -> bool:
    """Tell whether the optimizer wants the curvature estimated before a step, counted from 1."""
    return isinstance(optimizer, Sophia) and (step - 1) % optimizer.update_period == 0


def drawn_nll(
    model: Any, encoded: EncodedSet, indices: npt.NDArray[np.int64], *, targets: int, device: Any, seed: int, step: int
) -> torch.Tensor:
    """NLL of tokens that the model draws at the targets' places, their contexts as they are; a scalar with gradient.

    What is drawn for an example is a function of seed and step, whichever worker and micro-batch it is in.

    Args:
        model: the model.
        encoded: the set.
        indices: the examples of this pass.
        targets: target tokens of the whole step.
        device: where the model is.
        seed: of the trial.
        step: the step, counted from 1.
    """
    batch: Batch = collate(encoded, indices, device=device)
    uniform_BT = np.zeros(batch["labels"].shape)
    for row, index in enumerate(indices):
        uniform_BT[row] = generator(seed, "curvature", step, int(index)).random(uniform_BT.shape[1])
    drawn = score_drawn(model, batch, torch.from_numpy(uniform_BT).float().to(device))
    return -drawn.logp_BT.sum() / targets
