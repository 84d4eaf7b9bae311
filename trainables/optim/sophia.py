"""Sophia-G (Liu et al. 2023, arXiv 2305.14342), with the curvature's estimates from ``curvature``."""

from collections.abc import Iterable
from typing import Any

import torch
from pytorch_optimizer import SophiaH

from trainables.optim.settings import SophiaSettings


class Sophia(SophiaH):
    """The library's Sophia in the paper's units, with estimates of the curvature from outside.

    With m the mean gradient and h the mean curvature, a weight moves by
    ``learning_rate * clip(m / max(gamma * h, eps), -1, 1)`` (algorithm 3). The library has no gamma, so it gets
    ``gamma * h`` as h. h starts at 0, and nothing corrects for that: the first steps move most weights by the whole
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
        """Take the current gradients as an estimate for the next step, and clear them.

        They are those of the mean NLL of ``num_tokens`` tokens drawn from the model. Squared and times the number of
        tokens, they estimate the diagonal of the Gauss-Newton matrix (Gauss-Newton-Bartlett, algorithm 2).
        """
        self._estimate = [
            torch.zeros_like(p) if p.grad is None else p.grad.square() * (num_tokens * self._gamma)
            for group in self.param_groups
            for p in group["params"]
        ]
        self.zero_grad(set_to_none=True)

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]  # the estimate is not the caller's to give
        """Take a step, with the estimate if there is a new one."""
        hessian, self._estimate = self._estimate, None
        loss = super().step(closure, hessian=hessian)
        for state in self.state.values():
            state.pop("hessian", None)  # the mean has taken it in
        return loss
