"""Configurations of trials: what varies between them, when they end, how they are evaluated and checkpointed."""

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from trainables.config.base import Compat, Config, LearningRate, PositiveInt


class TrialConfig(Config):
    """The settings of one trial, all of which a search space may vary."""

    # serialized by alias: identities and the ledger's column ``config`` keep the name that the first version wrote
    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    added_later = frozenset({"compat", "optimizer_settings"})

    objective: str = "gradient_ascent"
    """What each step minimises."""
    objective_settings: dict[str, Annotated[float | str, Field(union_mode="left_to_right")]] = Field(
        default_factory=dict, alias="objective_weights"
    )
    """The objective's own settings, for example ``retain_weight``; others have the objective's defaults."""
    compat: Compat | None = None
    """A project whose way of averaging losses the objective reproduces exactly: over each micro-batch, then over the
    micro-batches. Then ``micro_batch_size`` and the number of workers change the objective."""
    optimizer: str = "adamw"
    """Optimizer of the ascent."""
    optimizer_settings: dict[str, float] = Field(default_factory=dict)
    """The optimizer's own settings, for example ``beta2``; others have the optimizer's defaults."""
    learning_rate: LearningRate
    """Peak learning rate; the schedule scales it."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the last update that SGD keeps; SGD only."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of the optimizer; decoupled, but for SGD, where it is added to the gradient (L2)."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest global L2 norm of the gradient. None: no clipping."""
    batch_size: PositiveInt
    """Number of forget examples in one ascent step. A batch larger than the forget set is the whole set."""
    micro_batch_size: PositiveInt | None = None
    """Number of examples in one worker's forward and backward pass; gradients accumulate over passes. None: its whole
    share of the batch."""
    schedule: str = "constant"
    """How the learning rate follows the step."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises linearly from 0."""


class HalvingConfig(Config):
    """Asynchronous successive halving of a stratum's trials (Li et al. 2018, arXiv 1810.05934), by hypervolume.

    A trial that reaches a rung is compared with the other trials of its stratum that have reached it before, by the
    area that its evaluations so far dominate, bounded by the base model's unlearning quality and the performance floor.
    With many trials at once, the outcome depends on the order in which they reach the rung.

    Where every proposal runs on every seed (``search.across: seeds``), its trials share one decision: the first of them
    that reaches a rung is ranked among the trials of its seed, and the others end or continue with it, so that no
    setting is left with only some of its seeds.
    """

    rungs: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    """Values of the step axis, before its last."""
    reduction: Annotated[float, Field(gt=1)] = 3.0
    """One in ``reduction`` of the trials that reached a rung continues. The best one always does, and its equals."""

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        if list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs must be strictly increasing; found {list(self.rungs)}")
        return self


class StopConfig(Config):
    """When a trial ends before its last step. Non-finite numbers always end it (``diverged``).

    Rules other than the performance floor change no result, only how many there are: the trial is ``completed``, and
    its message says why it went no further.
    """

    max_heldout_nll_increase: Annotated[float, Field(gt=0)] = 3.0
    """The performance floor, in nats per token above the base model's held-out NLL. Beyond it a trial is
    ``collapsed``."""
    exposure_at_most: float | None = None
    """The target, in bits: once the forget set's mean ``gen_ex`` (``rel_ex``, without reference models) is at or below
    it, a trial ends when its performance only falls; see ``patience``. None: no target."""
    patience: PositiveInt = 3
    """Number of evaluations in a row, at or below ``exposure_at_most``, each with worse performance than the one before
    it, after which the trial ends."""
    halving: HalvingConfig | None = None
    """Ends trials that are worse than others of their stratum. None: no halving."""


class EvaluationConfig(Config):
    """What an evaluation measures, and how."""

    added_later = frozenset({"generated", "metrics", "compat", "selection_share"})

    batch_size: PositiveInt = 64
    """Number of examples in one worker's forward pass."""
    extraction_prefix: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the target that is given as prefix in extraction, for examples without a prompt."""
    generated: Annotated[int, Field(ge=0)] = 32
    """Number of held-out examples for which an encoder-decoder model generates the target, greedily, for BLEU and chrF;
    0: these are not measured. Left out: 32, or all if there are fewer."""
    selection_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the held-out examples, drawn by ``data.seed``, that choices are made by: they measure ``performance``,
    which the search, the performance floor and frontiers look at, and the others measure ``heldout_nll``, which is
    shown of what was chosen. Points that are chosen on the data that they are shown on look better than they are. 0:
    all examples measure both."""

    metrics: dict[str, dict[str, Any]] | None = None
    """The metrics that are computed beside exposure and performance: a list of names, or a mapping of names to their
    settings. Left out: those that need nothing but likelihoods that are computed anyway."""
    compat: Compat | None = None
    """A project whose conventions metrics follow, where it has them. None: those of the papers."""

    @field_validator("metrics", mode="before")
    @classmethod
    def _names_or_settings(cls, given: Any) -> Any:
        """Accept a list of names, some of which may be mappings of a name to its settings."""
        if isinstance(given, dict):
            given = [given]
        if not isinstance(given, list | tuple):
            return given
        found: dict[str, Any] = {}
        for entry in given:
            if not isinstance(entry, str | dict):
                raise ValueError(
                    f"expected a list of names, or a mapping of names to their settings; found {entry!r} in place of a "
                    f"name; write [mia_loss, {{rouge: {{max_new_tokens: 32}}}}]"
                )
            own = entry if isinstance(entry, dict) else {entry: None}
            for name, settings in own.items():
                if name in found:
                    raise ValueError(f"'{name}' twice; give each metric once")
                if isinstance(settings, bool):
                    raise ValueError(
                        f"'{name}: {str(settings).lower()}' is neither its settings nor a way to turn it off; a metric "
                        f"is computed if it is named, so leave '{name}' out, or name it alone"
                    )
                found[name] = {} if settings is None else settings
        return found

    @property
    def asked_to_generate(self) -> int | None:
        """Number of held-out examples that the user asked to generate; None: the default, or all if fewer."""
        default = type(self).model_fields["generated"].default
        return None if self.generated == default else self.generated


class CheckpointConfig(Config):
    """How often an unfinished trial is checkpointed, and what is kept of a finished one. A trial has at most one file.

    A trial that is interrupted repeats at most the steps since its last checkpoint, never an evaluation.
    """

    every_s: Annotated[float, Field(ge=0)] = 60.0
    """Seconds between checkpoints, of a trial or of a model in preparation. One is taken after the step at which that
    time has passed since the last one."""
    every_steps: PositiveInt | None = None
    """Number of steps after which a checkpoint of a trial is taken even if ``every_s`` has not passed. None: by time
    alone."""
    keep_mib: Annotated[float, Field(ge=0)] = 8.0
    """Largest checkpoint, in MiB, that is kept of a completed trial, so that a longer step axis continues from it; 0:
    none. Without it, a longer axis ascends from the base model again, without repeating evaluations."""
