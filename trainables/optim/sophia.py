"""Sophia-G (Liu et al. 2023, arXiv 2305.14342), told of the curvature that ``curvature`` estimates."""

from collections.abc import Iterable
from typing import Any

import torch
from pytorch_optimizer import SophiaH

from trainables.optim.settings import SophiaSettings


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
