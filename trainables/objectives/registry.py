"""What an objective is: its settings, what it needs, and where it comes from; and the objectives by name.

Nothing here loads PyTorch: a loss is imported when it is first computed.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainables.errors import UnlearningError, nearest_name_hint

if TYPE_CHECKING:
    import torch

    from trainables.objectives.inputs import ObjectiveInputs

Setting = float | str
Loss = Callable[["ObjectiveInputs", Mapping[str, Any]], "torch.Tensor"]

COMPATS = ("open-unlearning",)
"""Projects whose reductions ``compat`` gives: each micro-batch is averaged by itself, then the micro-batches are."""

OPTIONS: dict[str, tuple[str, ...]] = {
    "reduction": ("token", "sequence"),
    "kl_positions": ("target", "all"),
    "length": ("sum", "mean"),
    "retain_loss": ("nll", "kl"),
}
"""Settings that are no numbers, with what they may be: what codebases disagree about."""

SETTING_MEANINGS: dict[str, str] = {
    "forget_weight": "Weight of the objective's own term.",
    "retain_weight": "Weight of the retain term; 0: no retain term.",
    "retain_loss": "The retain term: NLL of the retained examples, or KL(base model || model) on them.",
    "kl_positions": "Positions that KL is averaged over: target tokens, or prompts too. Padding never counts, but for "
    "`compat`.",
    "reduction": "Mean over all tokens of a step, or over its sequences, each by the mean of its tokens.",
    "length": "Whether the log-likelihood of an example is the sum over its tokens, or their mean.",
    "bound": "NLL, in nats, up to which a target token is pushed.",
    "scale": "Multiple of the task vector that is subtracted from the base model.",
    "ignore_first": "Number of first target tokens of an example that are left alone.",
    **{name: f"`{name}` in the objective's formula." for name in ("beta", "beta1", "beta2", "delta")},
}
"""What each setting of an objective means."""

DECIDED_BY_COMPAT = frozenset({"reduction", "kl_positions", "length"})

AVERAGED: dict[str, Setting] = {"reduction": "token"}
RETAINING: dict[str, Setting] = {
    "forget_weight": 1.0, "retain_weight": 1.0, "retain_loss": "nll", "kl_positions": "target", **AVERAGED
}  # fmt: skip
"""Settings of objectives that can have a retain term R beside their own: forget_weight * own + retain_weight * R."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A registered objective: its own loss, its settings with their defaults, what it needs, where it comes from."""

    loss: Loss
    """Its term over the forget batch; ``compute`` weighs it and adds the retain term."""
    source: str
    weights: Mapping[str, Setting] = field(default_factory=dict)
    """Every setting with its default: numbers, and the names that ``OPTIONS`` lists."""
    fixed: Mapping[str, Setting] = field(default_factory=dict)
    """Settings that make it what it is, and cannot be given."""
    positive: frozenset[str] = frozenset()
    """Numbers that must be above 0."""
    full_tensor: frozenset[str] = frozenset()
    """Numbers that must be whole and not negative."""
    needs_retain: bool = False
    needs_reference: bool = False
    needs_alternate: bool = False
    negates: bool = False
    """What it trains is subtracted from the base model, times ``scale``, wherever the model is used."""
    compats: frozenset[str] = frozenset()
    """Projects that have it."""

    def settings(self, given: Mapping[str, Setting]) -> dict[str, Any]:
        """Give every setting, defaults included."""
        return {**self.weights, **given, **self.fixed}

    def retains(self, given: Mapping[str, Setting]) -> bool:
        """Tell whether there is a retain term under these settings."""
        return bool(self.settings(given).get("retain_weight", 0.0))

    def uses_base(self, given: Mapping[str, Setting]) -> bool:
        """Tell whether the reference model is asked under these settings."""
        return self.needs_reference or (self.retains(given) and self.settings(given)["retain_loss"] == "kl")

    def passes(self, given: Mapping[str, Setting]) -> tuple[int, int]:
        """Count the passes of a micro-batch: forward and back through the model, and forward through the reference."""
        retains = self.retains(given)
        of_reference = (1 + self.needs_alternate) * self.needs_reference
        of_reference += retains and self.settings(given)["retain_loss"] == "kl"
        return 1 + self.needs_alternate + retains, of_reference


OBJECTIVES: dict[str, Objective] = {}


def register(name: str, objective: Objective) -> None:
    """Add an objective to the registry.

    Raises:
        UnlearningError: the name is taken.
    """
    if name in OBJECTIVES:
        raise UnlearningError(f"objective '{name}' is registered already; choose another name")
    OBJECTIVES[name] = objective


def check_objective(name: str, weights: Mapping[str, Setting], *, compat: str | None = None) -> Objective:
    """Look an objective up and check its settings.

    Raises:
        UnlearningError: naming what is allowed.
    """
    if name not in OBJECTIVES:
        raise UnlearningError(f"unknown objective '{name}'; {nearest_name_hint(name, OBJECTIVES)}")
    objective = OBJECTIVES[name]
    for setting, value in weights.items():
        if setting not in objective.weights:
            raise UnlearningError(
                f"objective '{name}' has no '{setting}'; {nearest_name_hint(setting, objective.weights)}"
            )
        _check_value(f"objective '{name}': {setting}", objective, setting, value)
    if compat is not None:
        _check_compat(name, objective, weights, compat)
    return objective


def _check_value(where: str, objective: Objective, setting: str, value: Any) -> None:
    if isinstance(objective.weights[setting], str):
        if value not in OPTIONS[setting]:
            raise UnlearningError(f"{where}: found {value!r}; allowed: {', '.join(OPTIONS[setting])}")
        return
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise UnlearningError(f"{where}: a finite number is needed; found {value!r}")
    if setting in objective.positive and value <= 0:
        raise UnlearningError(f"{where}: it must be above 0; found {value:g}")
    if setting in objective.full_tensor and (value < 0 or value != int(value)):
        raise UnlearningError(f"{where}: a whole number of at least 0 is needed; found {value:g}")


def _check_compat(name: str, objective: Objective, weights: Mapping[str, Setting], compat: str) -> None:
    if compat not in COMPATS:
        raise UnlearningError(f"compat: unknown project '{compat}'; {nearest_name_hint(compat, COMPATS)}")
    if compat not in objective.compats:
        having = [other for other, entry in OBJECTIVES.items() if compat in entry.compats]
        raise UnlearningError(f"compat: {compat} has no objective '{name}'; it has {', '.join(sorted(having))}")
    for setting in sorted(DECIDED_BY_COMPAT & weights.keys()):
        raise UnlearningError(
            f"objective '{name}': compat: {compat} decides '{setting}'; leave '{setting}' out, or leave compat out"
        )
