"""The trial: what may vary from one to the next, when it ends, how it is evaluated and kept."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from trainables.config.base import Config, LearningRate, PositiveInt


class TrialConfig(Config):
    """One trajectory of ascent, up to how far it goes. These are the things a search space may vary."""

    # serialized by alias: identities and the ledger's column ``config`` keep the name that the first version wrote
    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    later = frozenset({"compat", "optimizer_settings"})

    objective: str = "gradient_ascent"
    """What each step minimises."""
    objective_settings: dict[str, Annotated[float | str, Field(union_mode="left_to_right")]] = Field(
        default_factory=dict, alias="objective_weights"
    )
    """The objective's own settings, for example ``retain_weight``; unnamed ones take the objective's defaults."""
    compat: Literal["open-unlearning"] | None = None
    """A project whose reductions the objective takes exactly: every micro-batch is averaged by itself, then the
    micro-batches are, so that another ``micro_batch_size`` or number of workers is another objective."""
    optimizer: str = "adamw"
    """Optimizer of the ascent."""
    optimizer_settings: dict[str, float] = Field(default_factory=dict)
    """The optimizer's own settings, for example ``beta2``; unnamed ones take the optimizer's defaults."""
    learning_rate: LearningRate
    """Peak learning rate; the schedule scales it."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the last update that SGD keeps; SGD only."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Weight decay of the optimizer; decoupled, but for SGD, where it is added to the gradient (L2)."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest global L2 norm of the gradient; none: no clipping."""
    batch_size: PositiveInt
    """Forget examples in one ascent step; a batch larger than the forget set is the whole set."""
    micro_batch_size: PositiveInt | None = None
    """Examples in one worker's forward and backward pass; gradients accumulate over the rest. None: its whole share."""
    schedule: str = "constant"
    """How the learning rate follows the step."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate rises linearly from 0."""


class HalvingConfig(Config):
    """Asynchronous successive halving of a stratum's trials (Li et al. 2018, arXiv 1810.05934), by hypervolume.

    A trial that reaches a rung is compared by the area that its own evaluations so far dominate, below the base model's
    unlearning quality and the performance floor, with the other trials of its stratum that had reached it by then. With
    many trials at once, who goes on depends on who comes first.

    Where every proposal runs on every seed (``search.across: seeds``), its trials are judged as one: the first of them
    that reaches a rung is ranked, with its own seed's trials of other settings, and the others end there or go on with
    it: halving leaves no setting with some of its seeds only.
    """

    rungs: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    """Points of the step axis, before its last."""
    reduction: Annotated[float, Field(gt=1)] = 3.0
    """One in so many of the trials that reached a rung goes on, the best always; equal ones go on together."""

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        if list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(f"rungs must be strictly increasing; found {list(self.rungs)}")
        return self


class StopConfig(Config):
    """When a trajectory ends before its last step. Non-finite numbers always end it (``diverged``).

    All but the floor change no number, only how many there are: the trial is ``completed``, and its message says why it
    went no further.
    """

    max_heldout_nll_increase: Annotated[float, Field(gt=0)] = 3.0
    """The performance floor, nats per token above the base model's held-out NLL: beyond it a trial is ``collapsed``."""
    exposure_at_most: float | None = None
    """The target, in bits: where the forget set's mean ``gen_ex`` (``rel_ex``, without reference models) is at or below
    it, only performance can still be gained, ..."""
    patience: PositiveInt = 3
    """... and when each of so many evaluations there, one after another, performs worse than the one before it, the
    trial ends."""
    halving: HalvingConfig | None = None
    """Ends trials that are worse than others of their stratum; all seeds of a setting that is searched across them."""


class EvaluationConfig(Config):
    """What an evaluation computes, and how."""

    later = frozenset({"generated"})

    batch_size: PositiveInt = 64
    """Examples in one worker's forward pass."""
    extraction_prefix: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the target given as prefix in extraction, where an example has no prompt of its own."""
    generated: Annotated[int, Field(ge=0)] = 32
    """Held-out examples that an encoder-decoder model writes out, greedily, for BLEU and chrF; 0: these are not
    measured. Left out: 32, or all where there are fewer."""

    @property
    def asked_to_generate(self) -> int | None:
        """How many held-out examples the user wants written out; None: as many as there are will do."""
        default = type(self).model_fields["generated"].default
        return None if self.generated == default else self.generated


class CheckpointConfig(Config):
    """How often an unfinished trajectory is saved, and what is kept of a finished one. A trial has one file at most.

    A trial that is cut off repeats at most the steps since its last checkpoint, never an evaluation.
    """

    every_s: Annotated[float, Field(ge=0)] = 60.0
    """A checkpoint, of a trial or of a model in preparation, is taken after the step at which this many seconds have
    passed since the last one; ..."""
    every_steps: PositiveInt | None = None
    """... or, of a trial, after this many steps, whichever comes first. None: by time alone."""
    keep_mib: Annotated[float, Field(ge=0)] = 8.0
    """The last state of a completed trial stays, for a longer step axis to go on from, if it is no larger than this;
    0: never. Where it went, a longer axis ascends from the base model again, without evaluating again."""
