"""A whole sweep as one validated description, which everything else follows from."""

from typing import Annotated, Any, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from orchestrator.errors import SweepError
from orchestrator.identity import Stratum
from orchestrator.spec.resources_config import ResourcesConfig
from orchestrator.spec.search_checks import check_budget, check_halving, check_search
from orchestrator.spec.search_config import LISTING, SearchConfig
from orchestrator.spec.trial_settings import trial_config
from search_spaces import Space, combinations, corners, grid_size, parse_space, settings
from trainables.config import (
    CheckpointConfig,
    Config,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    Name,
    PositiveInt,
    PreparationConfig,
    StopConfig,
    TrialConfig,
)
from trainables.data import check_canary
from trainables.errors import UnlearningError, nearest_name_hint
from trainables.metrics import chosen_metrics
from trainables.optim import OPTIMIZERS, SCHEDULES, Horizon
from trainables.plugins import PluginFile
from trainables.probes import check_probe
from trainables.seeding import derive_seed

RECORDED = "recorded"
"""Validation context of a spec that is read to show a sweep's results: it may name what only plugins provide."""
MOST_COMBINATIONS, MOST_LISTED = 100_000, 1_000_000
"""Limits: combinations of choices in a space, and points of a space that is listed. A larger space is refused."""


class SweepSpec(Config):
    """A whole sweep. Strata (forget set x seed x replicate) are always fully crossed; ``search`` varies the rest."""

    added_later = frozenset({"probes", "replicates"})

    name: Name
    """Name of the sweep, and of its folder."""
    description: str = ""
    """What the sweep is for, in words of your own; shown in its report."""
    model: ModelConfig
    """The model that unlearns."""
    data: DataConfig
    """What it was trained on, what it forgets, and what it is measured on."""
    preparation: PreparationConfig
    """How base and reference models are trained."""
    steps: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    """The step axis: where a trajectory is evaluated."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    """Seeds of batch order and dropout; each is a stratum of its own with each forget set and replicate."""
    replicates: PositiveInt = 1
    """How often everything random is drawn anew: which examples are in which set, canaries, initial weights and
    training of base and reference models, batch orders. Seeds alone vary the last of these. Every setting can run in
    every replicate, so that differences are paired; replicate 0 is what the sweep is without others. A sweep in which
    nothing but batch orders would differ is refused."""
    search: SearchConfig
    """What varies, and who proposes it."""
    stop: StopConfig = StopConfig()
    """When a trial ends before its last step."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How an evaluation is computed."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """How often a trial is saved, and what of it is kept."""
    resources: ResourcesConfig = ResourcesConfig()
    """What a trial takes of the machines."""
    probes: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """What ``unlearn-sweep probe`` tries on chosen points, by name, each with its settings (``{}``: its defaults). They
    change no trial, and may change at any time."""

    _plugins: tuple[PluginFile, ...] = PrivateAttr(default=())
    _is_recorded: bool = PrivateAttr(default=False)

    def model_post_init(self, context: Any, /) -> None:
        """Take note of what the spec is read for, before it is checked."""
        self._is_recorded = context == RECORDED

    def __eq__(self, other: object) -> bool:
        """Compare what the specs say, and neither plugins nor what the specs were read for."""
        return isinstance(other, SweepSpec) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # it has mappings

    @property
    def plugins(self) -> tuple[PluginFile, ...]:
        """Plugin files that were given on the command line. They travel with the spec, and are not part of it."""
        return self._plugins

    def with_plugins(self, plugins: tuple[PluginFile, ...]) -> Self:
        """Return this spec with the plugin files by which what it names is found in other processes."""
        changed = self.model_copy()
        changed._plugins = plugins
        return changed

    def trusting_remote_code(self, trust: bool) -> Self:
        """Return this spec with or without permission to run Python code that comes with the model.

        The permission is not part of the spec.
        """
        return self.model_copy(update={"model": self.model.trusting_remote_code(trust)})

    @field_validator("steps")
    @classmethod
    def _increasing(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if list(steps) != sorted(set(steps)) or steps[-1] == 0:
            raise ValueError(f"steps must be strictly increasing and end above 0; found {list(steps)}")
        return steps

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds must be distinct; found {list(seeds)}")
        return seeds

    @model_validator(mode="after")
    def _preparation_is_possible(self) -> Self:
        self.data.require_references(self.num_references)
        if self.preparation.epochs == 0 and (self.model.pretrained is None or self.preparation.references):
            raise ValueError(
                f"preparation.epochs: 0 takes model.pretrained as the base model as it is, and has no way to train "
                f"references; found pretrained {self.model.pretrained} and references {self.preparation.references}; "
                f"references that are trained already are named by model.references"
            )
        if self.model.references and self.preparation.epochs:
            raise ValueError(
                f"model.references: models that are trained already go with a base model that is: preparation.epochs: "
                f"0; found epochs {self.preparation.epochs}; or leave them out, and preparation trains references"
            )
        if self.data.match is not None and not self.data.match.settled:
            self.data.match.require_possible(self.preparation.epochs, references=self.num_references)
        return self

    @field_validator("data")
    @classmethod
    def _known_canaries(cls, data: DataConfig) -> DataConfig:
        for name, forget_set in data.forget_sets.items():
            try:
                check_canary(forget_set)
            except UnlearningError as error:
                raise ValueError(f"forget_sets.{name}.{error}") from error
        return data

    @field_validator("probes", mode="before")
    @classmethod
    def _probe_without_settings(cls, probes: Any) -> Any:
        """Read ``relearning:`` as ``relearning: {}``."""
        if not isinstance(probes, dict):
            return probes
        return {name: {} if given is None else given for name, given in probes.items()}

    @field_validator("probes")
    @classmethod
    def _known_probes(cls, probes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, given in probes.items():
            try:
                check_probe(name, given)
            except UnlearningError as error:
                raise ValueError(str(error)) from error
        return probes

    @model_validator(mode="after")
    def _metrics_are_possible(self) -> Self:
        """Check the chosen metrics. The default ones have no value where there is nothing to compute it from."""
        if self._is_recorded:
            return self
        try:
            chosen = chosen_metrics(self.evaluation)
        except UnlearningError as error:
            raise ValueError(str(error)) from error
        for metric in chosen if self.evaluation.metrics is not None else ():
            if metric.metric.needs_references and not self.num_references:
                raise ValueError(
                    f"evaluation.metrics: '{metric.name}' compares with reference models, and there are none: "
                    f"preparation.references is 0; train some, name ready ones (model.references), or leave it out"
                )
            if "gradient_norms_NP" in metric.metric.reads and self.resources.parallelism == "fsdp":
                raise ValueError(
                    f"evaluation.metrics: '{metric.name}' needs the gradient of each example, and "
                    f"resources.parallelism: fsdp cuts the model into shards; use ddp, or leave the metric out"
                )
        return self

    @model_validator(mode="after")
    def _search_is_possible(self) -> Self:
        many = combinations(self.space)
        if many > MOST_COMBINATIONS:
            raise ValueError(
                f"search.space: its lists have {many:,} combinations, and at most {MOST_COMBINATIONS:,} can be checked "
                f"before a trial runs; give ranges (low, high) in place of lists, or fewer values"
            )
        for config in self.corner_configs:
            if SCHEDULES[config.schedule].horizon is Horizon.FIXED and self.steps[0] == 0:
                raise ValueError(
                    f"steps: schedule '{config.schedule}' depends on the total, so each step value is a trial of its "
                    f"own, and 0 steps is none; leave 0 out of steps"
                )
            if self.resources.parallelism == "fsdp" and not OPTIMIZERS[config.optimizer].works_on_shards:
                able = ", ".join(name for name, entry in OPTIMIZERS.items() if entry.works_on_shards)
                raise ValueError(
                    f"search.space.optimizer: '{config.optimizer}' needs whole matrices, and resources.parallelism: "
                    f"fsdp cuts them into shards; use ddp, or one of {able}"
                )
        points = self.listed_trials if self.search.sampler in LISTING else None
        if points is not None and points > MOST_LISTED:
            raise ValueError(
                f"search.sampler: {self.search.sampler} lists every point, and this space has {points:,}; at most "
                f"{MOST_LISTED:,} can be listed; give fewer values or grid_points, or take another sampler"
            )
        check_search(self.search, self.space, points=points, horizon=self.horizon)
        check_budget(
            self.search.budget,
            strata=len(self.strata),
            last_step=self.steps[-1],
            gpus_per_trial=self.resources.gpus_per_trial,
        )
        if self.stop.halving is not None:
            check_halving(self.stop.halving, steps=self.steps, horizon=self.horizon)
        return self

    def require_forget_sets(self, forget_set: str | None) -> list[str]:
        """Return the names of all forget sets and their buckets, or the one asked for.

        Raises:
            SweepError: there is no such forget set.
        """
        names = list(self.data.unlearned)
        if forget_set is not None and forget_set not in names:
            raise SweepError(
                f"sweep '{self.name}' has no forget set '{forget_set}'; {nearest_name_hint(forget_set, names)}"
            )
        return names if forget_set is None else [forget_set]

    @property
    def strata(self) -> list[Stratum]:
        """Every stratum, by forget set, replicate and seed."""
        return [
            Stratum(forget_set=forget_set, seed=seed, replicate=replicate)
            for forget_set in self.data.unlearned
            for replicate in range(self.replicates)
            for seed in self.seeds
        ]

    def of_replicate(self, replicate: int) -> Self:
        """Return the spec by which the data of a replicate is drawn and its models are trained: other seeds of both.

        Replicate 0 has the spec itself.
        """
        if replicate == 0:
            return self
        data, preparation = (
            part.model_copy(update={"seed": derive_seed(part.seed, "replicate", replicate)})
            for part in (self.data, self.preparation)
        )
        return self.model_copy(update={"data": data, "preparation": preparation})

    @property
    def num_references(self) -> int:
        """Number of reference models, given or to be trained."""
        return len(self.model.references) or self.preparation.references

    @property
    def space(self) -> Space:
        """The search space, parsed."""
        return parse_space(self.search.space, "search.space")

    @property
    def corner_configs(self) -> list[TrialConfig]:
        """Configurations at the ends of all ranges, and one inside, for every combination of choices."""
        return [
            trial_config(settings(self.space, corner), as_recorded=self._is_recorded) for corner in corners(self.space)
        ]

    @property
    def horizon(self) -> Horizon:
        """Whether the schedules that trials may have depend on the total number of steps."""
        kinds = {SCHEDULES[name].horizon for name in self.schedules}
        return kinds.pop() if len(kinds) == 1 else Horizon.MIXED

    @property
    def schedules(self) -> frozenset[str]:
        """Names of the learning-rate schedules that trials may have."""
        return frozenset(config.schedule for config in self.corner_configs)

    @property
    def listed_trials(self) -> int:
        """Trials of each stratum under a sampler that lists the space: one a point, or with a fixed horizon one a step
        value of each."""
        horizon = self.horizon
        if horizon is Horizon.MIXED:
            raise ValueError("search.space.schedule: a grid cannot mix schedules that depend on the total with others")
        return grid_size(self.space) * (len(self.steps) if horizon is Horizon.FIXED else 1)
