"""What an objective is: its loss, its settings, what it needs, and where it comes from. It loads no PyTorch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.objectives.settings import ObjectiveSettings

if TYPE_CHECKING:
    import torch

    from trainables.objectives.inputs import ObjectiveInputs

Setting = float | str
Loss = Callable[["ObjectiveInputs", Any], "torch.Tensor"]
"""A function of the inputs and of an instance of the objective's settings class."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A registered objective."""

    loss: Loss
    """Its own term over the forget batch; ``compute`` weighs it and adds the retain term."""
    source: str
    """Paper and equation."""
    settings: type[ObjectiveSettings] = ObjectiveSettings
    """The class that declares and validates its settings."""
    needs_retain: bool = False
    """Whether it is no objective without a retain batch, where ``retain_weight`` is not 0."""
    needs_reference: bool = False
    """Whether its own term compares with the frozen base model."""
    needs_alternate: bool = False
    """Whether it trains on the alternate answers of the forget examples."""
    compats: frozenset[str] = frozenset()
    """Projects that have it."""

    @property
    def own_settings(self) -> frozenset[str]:
        """Names of the settings in ``TrialConfig.objective_settings``."""
        return frozenset(self.settings.model_fields)

    def retains(self, given: Mapping[str, Setting]) -> bool:
        """Return whether there is a retain term under these settings."""
        return self.settings(**given).retains

    def uses_base(self, given: Mapping[str, Setting]) -> bool:
        """Return whether the frozen base model is run under these settings."""
        return self.needs_reference or self.settings(**given).retains_by_kl

    def passes(self, given: Mapping[str, Setting]) -> tuple[int, int]:
        """Count the passes of a micro-batch: forward and back through the model, forward through the base model."""
        settings = self.settings(**given)
        through_base = (1 + self.needs_alternate) * self.needs_reference + settings.retains_by_kl
        return 1 + self.needs_alternate + settings.retains, through_base
