"""YAML to a validated ``SweepSpec``: the one description that everything else follows from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from orchestrator.errors import SweepError
from orchestrator.ledger import SPEC, Ledger
from orchestrator.spec.contradictions import require_no_contradiction
from orchestrator.spec.search_checks import check_budget, check_halving, check_search
from orchestrator.spec.search_config import LISTING, SearchConfig
from orchestrator.spec.spec_paths import with_absolute_paths
from orchestrator.spec.trial_settings import trial_fields
from orchestrator.storage import require_no_secret
from orchestrator.yaml_text import parse_yaml, parse_yaml_value
from search_spaces import Space, Value, combinations, corners, grid_size, parse_space, settings, shipped_specs
from trainables.config import (
    CheckpointConfig,
    Config,
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    Name,
    Parallelism,
    PositiveInt,
    PreparationConfig,
    StopConfig,
    TrialConfig,
    problems_in,
)
from trainables.data import check_canary
from trainables.errors import UnlearningError, nearest_name_hint
from trainables.objectives import check_objective
from trainables.optim import OPTIMIZERS, SCHEDULES, check_optimizer

MOST_COMBINATIONS, MOST_LISTED = 100_000, 1_000_000
"""Combinations of choices in a space, and points of a space that is listed: more are counted and refused."""

_NO_SECRETS = "a spec is kept with its sweep: give the secret by the environment (HF_TOKEN), or fetch the file first"


class ResourcesConfig(Config):
    """What one trial takes, and how many run at once."""

    concurrent_trials: PositiveInt | Literal["auto"] | None = None
    """None: as many as the cluster's CPUs and GPUs hold. ``auto``: as many as its memory holds too: one trial's peak
    is measured first, and with GPUs (``gpus_per_trial: 1``) sets the share of a GPU that each takes."""
    cpus_per_trial: Annotated[float, Field(gt=0)] = 1
    """Of the whole trial, however many workers it runs on."""
    gpus_per_trial: Annotated[float, Field(ge=0)] = 0
    """Of the whole trial. A fraction (0.25) lets trials share a GPU; of several workers each needs its own."""
    memory_gib_per_trial: Annotated[float, Field(ge=0)] = 0
    """RAM of the whole trial that Ray sets aside on its machine; 0: it is not counted, unless ``concurrent_trials:
    auto`` has measured it."""
    workers_per_trial: PositiveInt = 1
    """Processes that run one trial together (data parallel): one resident actor, or N workers under Ray Train."""
    parallelism: Parallelism = "ddp"
    """How several workers share a trial: ``ddp`` keeps a whole model on each; ``fsdp`` cuts it into shards, for models
    whose ascent does not fit one GPU. The numbers are the same, to rounding. Base and reference models are trained on
    one worker each: one that does not fit there must come trained (``preparation.epochs: 0``)."""
    threads_per_trial: PositiveInt = 1
    """Intra-op threads of PyTorch in each of its workers, pinned: another number gives other roundings."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    """How often a trial whose worker died goes on from its checkpoint; once more, and it has ``failed``."""
    stop_grace_s: Annotated[float, Field(ge=0)] = 60.0
    """How long a stopped run waits for its trials to save where they are. Spot machines are taken 30 to 120 s after
    they are told."""
    silence_limit_s: Annotated[float, Field(gt=0)] = 3600.0
    """How long all running trials together may give no sign of life (an evaluation, a checkpoint, some seconds of
    ascent) before the run stops and says so."""
    training_limit_s: Annotated[float, Field(gt=0)] = 7 * 86_400.0
    """How long the run waits for a base or reference model to be trained, and for the baselines to be measured."""

    @model_validator(mode="after")
    def _workers_have_gpus_of_their_own(self) -> Self:
        if self.gpus_per_trial > 1 and not self.gpus_per_trial.is_integer():
            raise ValueError(f"gpus_per_trial: a share of one GPU, or whole GPUs; found {self.gpus_per_trial:g}")
        if self.workers_per_trial > 1 and self.gpus_per_trial not in (0, self.workers_per_trial):
            raise ValueError(
                f"gpus_per_trial is of the whole trial: {self.workers_per_trial} workers take one GPU each, "
                f"{self.workers_per_trial} in all, or none; found {self.gpus_per_trial:g}"
            )
        if self.parallelism == "fsdp" and self.workers_per_trial == 1:
            raise ValueError("parallelism: fsdp shares a model among workers; set workers_per_trial above 1")
        return self

    @model_validator(mode="after")
    def _auto_divides_one_device(self) -> Self:
        if self.concurrent_trials == "auto" and (self.workers_per_trial > 1 or self.gpus_per_trial > 1):
            raise ValueError(
                f"concurrent_trials: auto divides one GPU, or one machine's RAM, among trials of one worker; found "
                f"gpus_per_trial {self.gpus_per_trial:g} and workers_per_trial {self.workers_per_trial}; leave "
                f"concurrent_trials out to run as many as fit"
            )
        return self

    @property
    def concurrent_limit(self) -> int | None:
        """How many trials at once were asked for; None: as many as fit."""
        return None if self.concurrent_trials == "auto" else self.concurrent_trials

    @property
    def tune_resources(self) -> dict[str, float]:
        """What Tune's own actor of a trial takes: all of it; or, where workers of Ray Train take it, nothing.

        Tune wants something: one byte.
        """
        return self.worker_resources if self.workers_per_trial == 1 else {"memory": 1}

    @property
    def worker_resources(self) -> dict[str, float]:
        """What one worker of a trial takes, by Ray's names; a trial takes ``workers_per_trial`` times this."""
        whole: dict[str, float] = {"CPU": self.cpus_per_trial, "GPU": self.gpus_per_trial}
        if self.memory_gib_per_trial:
            whole["memory"] = self.memory_gib_per_trial * 2**30  # bytes
        return {name: amount / self.workers_per_trial for name, amount in whole.items()}


class SweepSpec(Config):
    """A whole sweep. Strata (forget set x seed) are always fully crossed; ``search`` varies the rest."""

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
    """Seeds of batch order and dropout; each is a stratum of its own."""
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

    def trusting_remote_code(self, trust: bool) -> Self:
        """Give this spec with leave, or without, to run Python code that comes with the model: no part of the spec."""
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
    def _an_untrained_model_is_pretrained(self) -> Self:
        if self.preparation.epochs == 0 and (self.model.pretrained is None or self.preparation.references):
            raise ValueError(
                f"preparation.epochs: 0 takes model.pretrained as the base model as it is, and has no way to train "
                f"references; found pretrained {self.model.pretrained} and references {self.preparation.references}"
            )
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

    @model_validator(mode="after")
    def _search_is_possible(self) -> Self:
        many = combinations(self.space)
        if many > MOST_COMBINATIONS:
            raise ValueError(
                f"search.space: its lists have {many:,} combinations, and at most {MOST_COMBINATIONS:,} can be checked "
                f"before a trial runs; give ranges (low, high) in place of lists, or fewer values"
            )
        for config in self.corner_configs:
            if SCHEDULES[config.schedule].needs_horizon and self.steps[0] == 0:
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
        lists = self.search.sampler in LISTING
        points = self.horizons_per_point * grid_size(self.space) if lists else None
        if points is not None and points > MOST_LISTED:
            raise ValueError(
                f"search.sampler: {self.search.sampler} lists every point, and this space has {points:,}; at most "
                f"{MOST_LISTED:,} can be listed; give fewer values or grid_points, or take another sampler"
            )
        check_search(self.search, self.space, points=points, looks_at_total=self.looks_at_total)
        check_budget(
            self.search.budget,
            strata=len(self.data.forget_sets) * len(self.seeds),
            last_step=self.steps[-1],
            gpus_per_trial=self.resources.gpus_per_trial,
        )
        if self.stop.halving is not None:
            check_halving(self.stop.halving, steps=self.steps, looks_at_total=self.looks_at_total)
        return self

    def require_forget_sets(self, forget_set: str | None) -> list[str]:
        """List all forget sets, or the one asked for.

        Raises:
            SweepError: there is no such forget set.
        """
        names = list(self.data.forget_sets)
        if forget_set is not None and forget_set not in names:
            raise SweepError(
                f"sweep '{self.name}' has no forget set '{forget_set}'; {nearest_name_hint(forget_set, names)}"
            )
        return names if forget_set is None else [forget_set]

    @property
    def space(self) -> Space:
        """The search space, parsed."""
        return parse_space(self.search.space, "search.space")

    @property
    def corner_configs(self) -> list[TrialConfig]:
        """Configurations that span what may come up: every combination of choices, with the ends of all ranges."""
        return [trial_config(settings(self.space, corner)) for corner in corners(self.space)]

    @property
    def looks_at_total(self) -> frozenset[bool]:
        """Of the schedules that may come up: whether they look at the total number of steps."""
        return frozenset(SCHEDULES[name].needs_horizon for name in self.schedules)

    @property
    def schedules(self) -> frozenset[str]:
        """Names of the schedules that may come up."""
        return frozenset(config.schedule for config in self.corner_configs)

    @property
    def horizons_per_point(self) -> int:
        """Trials that one grid point costs: 1, or one for each step value where the schedule depends on the total."""
        if len(self.looks_at_total) > 1:
            raise ValueError("search.space.schedule: a grid cannot mix schedules that depend on the total with others")
        return len(self.steps) if True in self.looks_at_total else 1


def trial_config(values: dict[str, Value]) -> TrialConfig:
    """Make a trial's configuration from settings by name: its own fields, and those of its objective and optimizer.

    Raises:
        ValueError: an unknown setting, objective, optimizer or schedule, or a value that is not allowed.
    """
    fields = trial_fields(values)
    try:
        config = TrialConfig.model_validate(fields)
        check_objective(config.objective, config.objective_settings, compat=config.compat)
        check_optimizer(config)
    except ValidationError as error:
        raise ValueError("; ".join(f"search.space.{problem}" for problem in problems_in(error.errors()))) from None
    except ValueError as error:
        raise ValueError(f"search.space: {error}") from None
    return config


def load_spec(
    source: str | Path | None = None, *, overrides: tuple[str, ...] = (), name: str | None = None
) -> SweepSpec:
    """Read a spec from a YAML file, or a shipped one by name; none is the embedded demo.

    Relative paths in it, and in the overrides, are of the current folder; they come back absolute.

    Args:
        source: a path, or the name of a shipped spec.
        overrides: ``key.path=value`` each, the value in YAML.
        name: a sweep name in place of the spec's own.

    Raises:
        SweepError: the file, its YAML, a key or a value is wrong.
    """
    text, where = _read(str(source) if source is not None else "demo")
    require_no_secret(text, where, _NO_SECRETS)
    data = parse_yaml(text, where)
    for override in overrides:
        _override(data, override)
    if name is not None:
        data["name"] = name
    spec = with_absolute_paths(validate_spec(data, where))
    require_no_contradiction(spec.model, spec.space, where)
    return spec


def amend_spec(spec: SweepSpec, overrides: Sequence[str]) -> SweepSpec:
    """Change settings of a spec, each ``key.path=value``. Relative paths are of the current folder.

    Raises:
        SweepError: a key or a value is wrong.
    """
    data = spec.model_dump(mode="json")
    for override in overrides:
        _override(data, override)
    return with_absolute_paths(
        validate_spec(data, f"sweep '{spec.name}' with {', '.join(overrides) or 'its own spec'}")
    )


def validate_spec(data: object, where: str) -> SweepSpec:
    """Validate plain data as a spec.

    Raises:
        SweepError: listing every problem, each with its place.
    """
    try:
        return SweepSpec.model_validate(data)
    except ValidationError as error:
        lines = "\n".join(f"  {problem}" for problem in problems_in(error.errors()))
        raise SweepError(f"{where}: not a valid sweep spec\n{lines}") from None


def stored_spec(ledger: Ledger) -> SweepSpec:
    """Read a sweep's resolved spec back."""
    where = f"{ledger.storage.uri}/{SPEC}"
    data = parse_yaml(ledger.spec_text() or "", where)
    if isinstance(data, dict) and isinstance(data.get("search"), dict):
        data["search"].setdefault("across", "each")  # all that there was before the key
    return validate_spec(data, where)


def dump_spec(spec: SweepSpec, *, every_default: bool = True) -> str:
    """Write the resolved spec as YAML that ``load_spec`` reads back equal.

    Args:
        spec: what is written.
        every_default: or only what was given: a default that takes what there is stays open to do so elsewhere.
    """
    data = spec.model_dump(mode="json", exclude_unset=not every_default)
    data["search"]["across"] = spec.search.across  # of a stored spec that lacks it, it is another than of a new one
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


def _read(source: str) -> tuple[str, str]:
    shipped = shipped_specs()
    if source in shipped:
        return shipped[source], f"shipped spec '{source}'"
    path = Path(source)
    try:
        return path.read_text(encoding="utf-8"), source
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise SweepError(
            f"spec '{source}': {reason}; give a YAML file or the name of a shipped spec ({', '.join(sorted(shipped))})"
        ) from None


def _override(data: dict[str, Any], override: str) -> None:
    require_no_secret(override, "--set", _NO_SECRETS)
    path, separator, text = override.partition("=")
    keys = path.split(".")
    if not separator or not all(keys):
        raise SweepError(f"--set '{override}': expected key.path=value, for example --set search.trials=12")
    place: Any = data
    for depth, key in enumerate(keys[:-1]):
        if place.get(key) is None:  # a section that is left out by default
            place[key] = {}
        place = place[key]
        if not isinstance(place, dict):
            raise SweepError(f"--set '{override}': '{'.'.join(keys[: depth + 1])}' is a value and has no keys inside")
    place[keys[-1]] = parse_yaml_value(text, f"--set '{override}': the value")
