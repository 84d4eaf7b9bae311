"""The optimizers by name, how the settings of one are checked, and how one is built.

To add one: declare its settings in ``settings``, write its builder in ``builders``, and give it an entry here. Nothing
here loads PyTorch: that is imported when an optimizer is first built.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainables.config import Config, TrialConfig, validated_settings
from trainables.deferred import Deferred
from trainables.errors import UnlearningError, nearest_name_hint
from trainables.optim.schedules import SCHEDULES
from trainables.optim.settings import (
    AdafactorSettings,
    AdamWSettings,
    LionSettings,
    SGDSettings,
    SOAPSettings,
    SophiaSettings,
)

if TYPE_CHECKING:
    import torch

Parameters = Iterable["torch.nn.Parameter"]


@dataclass(frozen=True, kw_only=True)
class OptimizerEntry:
    """A registered optimizer."""

    build: Callable[[Parameters, float, Any], "torch.optim.Optimizer"]
    """A function of the parameters, the learning rate, and an instance of the optimizer's settings class."""
    settings: type[Config]
    """The class that declares and validates its settings."""
    source: str
    """Implementation and paper."""
    works_on_shards: bool
    """Whether it computes the same numbers where each worker has a shard of every tensor (``parallelism: fsdp``)."""

    @property
    def own_settings(self) -> frozenset[str]:
        """Names of the settings in ``TrialConfig.optimizer_settings``: all but those that are fields of a trial."""
        return frozenset(self.settings.model_fields) - set(TrialConfig.model_fields)


def _builder(name: str) -> Deferred:
    return Deferred("trainables.optim.builders", name)


OPTIMIZERS: dict[str, OptimizerEntry] = {
    "sgd": OptimizerEntry(
        build=_builder("sgd"),
        settings=SGDSettings,
        source="torch.optim.SGD; Robbins & Monro 1951",
        works_on_shards=True,
    ),
    "adamw": OptimizerEntry(
        build=_builder("adamw"),
        settings=AdamWSettings,
        source="torch.optim.AdamW; Loshchilov & Hutter 2019, arXiv 1711.05101",
        works_on_shards=True,
    ),
    "adafactor": OptimizerEntry(
        build=_builder("adafactor"),
        settings=AdafactorSettings,
        source="torch.optim.Adafactor; Shazeer & Stern 2018, arXiv 1804.04235",
        works_on_shards=False,
    ),
    "lion": OptimizerEntry(
        build=_builder("lion"),
        settings=LionSettings,
        source="pytorch_optimizer.Lion; Chen et al. 2023, arXiv 2302.06675",
        works_on_shards=True,
    ),
    "sophia": OptimizerEntry(
        build=_builder("sophia"),
        settings=SophiaSettings,
        source="pytorch_optimizer.SophiaH, fed by Gauss-Newton-Bartlett estimates; Liu et al. 2023, arXiv 2305.14342; "
        "for unlearning: Jia et al. 2024, arXiv 2404.18239",
        works_on_shards=True,
    ),
    "soap": OptimizerEntry(
        build=_builder("soap"),
        settings=SOAPSettings,
        source="pytorch_optimizer.SOAP; Vyas et al. 2024, arXiv 2409.11321",
        works_on_shards=False,
    ),
}


def check_optimizer(config: TrialConfig) -> Config:
    """Return all settings of a trial's optimizer, those that are not given at their defaults; check its schedule too.

    Raises:
        UnlearningError: the optimizer, the schedule, a setting or a value is unknown; the message names what is
            allowed.
    """
    if config.optimizer not in OPTIMIZERS:
        raise UnlearningError(
            f"unknown optimizer '{config.optimizer}'; {nearest_name_hint(config.optimizer, OPTIMIZERS)}"
        )
    if config.schedule not in SCHEDULES:
        raise UnlearningError(f"unknown schedule '{config.schedule}'; {nearest_name_hint(config.schedule, SCHEDULES)}")
    fields = {name: getattr(config, name) for name in ("momentum", "weight_decay")}
    given = {name: value for name, value in fields.items() if value} | config.optimizer_settings
    others = {other: entry.settings for other, entry in OPTIMIZERS.items()}
    owner = f"optimizer '{config.optimizer}'"
    return validated_settings(OPTIMIZERS[config.optimizer].settings, given, owner=owner, others=others)


def build_optimizer(parameters: Parameters, config: TrialConfig) -> "torch.optim.Optimizer":
    """Build the optimizer of a trial over those of ``parameters`` that require a gradient.

    Raises:
        UnlearningError: as ``check_optimizer``.
    """
    settings = check_optimizer(config)
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return OPTIMIZERS[config.optimizer].build(trained, config.learning_rate, settings)
