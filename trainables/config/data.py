"""Configurations of data: canaries, and every set of examples of a sweep."""

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from trainables.config.base import LONGEST_NAME, Config, Distribution, Name, PositiveInt
from trainables.config.buckets import THIRDS, TRAITS, Bucket, Trait, buckets_by
from trainables.config.matching import MATCHED_WITHIN, MatchConfig
from trainables.config.sources import CorpusConfig, SourceConfig, TemplateConfig
from trainables.errors import nearest_name_hint

DEFAULT_ALTERNATE = " I do not know."
"""Alternate answer of examples and forget sets that have none of their own."""


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


class ForgetSetConfig(Config):
    """A forget set, and the population that relative exposure ranks it against."""

    added_later = frozenset({"buckets"})

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
    buckets: Annotated[
        tuple[Trait, ...],
        BeforeValidator(
            lambda value: value if _is_list(value) else (value,), json_schema_input_type=Trait | tuple[Trait, ...]
        ),
    ] = ()
    """Traits by which the set is divided into thirds that are unlearned apart, beside the whole: ``memorization``,
    ``difficulty``, or a list of both. Base and reference models decide which example is in which third, in each
    replicate. ``NAME-memorization-low``, ``-middle`` and ``-high`` are forget sets of their own, with the population
    and the distractors of the whole. No model is trained for them."""

    @field_validator("buckets")
    @classmethod
    def _in_one_order(cls, traits: tuple[Trait, ...]) -> tuple[Trait, ...]:
        return tuple(trait for trait in TRAITS if trait in traits)

    @model_validator(mode="after")
    def _thirds_have_examples(self) -> Self:
        if self.buckets and self.size is not None and self.size < len(THIRDS):
            raise ValueError(f"buckets: thirds need at least {len(THIRDS)} examples, and size is {self.size}")
        return self

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

    added_later = frozenset({"evaluation_sets", "match"})

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
    match: Annotated[
        MatchConfig | None,
        BeforeValidator(
            lambda value: {"by": value} if isinstance(value, str) else value,
            json_schema_input_type=str | MatchConfig | None,
        ),
    ] = None
    """Forget sets that are equally exposed before unlearning, ``match: gen_ex`` for short: the repetitions of every set
    but one are chosen, in quarters, before the first trial. None: repetitions are as given."""

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
    def _buckets_have_names_of_their_own(self) -> Self:
        for bucket in self.unlearned.values():
            if bucket is not None and bucket.name in self.forget_sets:
                raise ValueError(
                    f"forget_sets.{bucket.name}: it is the name of a bucket of '{bucket.parent}', too; rename the set, "
                    f"or leave {bucket.trait} out of forget_sets.{bucket.parent}.buckets"
                )
            if bucket is not None and len(bucket.name) > LONGEST_NAME:
                raise ValueError(
                    f"forget_sets.{bucket.parent}: '{bucket.name}', the name of a bucket, would have "
                    f"{len(bucket.name)} characters, and names have at most {LONGEST_NAME}; shorten the set's"
                )
        return self

    def require_references(self, count: int) -> None:
        """Require a reference model where there are buckets, whose traits are measured against it.

        Raises:
            ValueError: a forget set has buckets, and ``count`` is 0.
        """
        for name, own in self.forget_sets.items():
            if own.buckets and not count:
                raise ValueError(
                    f"data.forget_sets.{name}.buckets: {' and '.join(own.buckets)} of examples are measured against "
                    f"reference models, and there are none: preparation.references is 0; train some, name ready ones "
                    f"(model.references), or leave the buckets out"
                )

    @property
    def unlearned(self) -> dict[str, Bucket | None]:
        """Every set that trials unlearn by name, in one order: each forget set, None, and the buckets of it."""
        found: dict[str, Bucket | None] = {}
        for name, own in self.forget_sets.items():
            found.setdefault(name, None)
            found |= {bucket.name: bucket for trait in own.buckets for bucket in buckets_by(name, trait)}
        return found

    def given(self, name: str) -> str:
        """Return the name of the forget set that a set of ``unlearned`` is, or is a bucket of."""
        bucket = self.unlearned[name]
        return name if bucket is None else bucket.parent

    def third(self, name: str) -> str:
        """Return which third of a forget set a set of ``unlearned`` is, by what; empty: it is a whole set."""
        bucket = self.unlearned[name]
        return "" if bucket is None else bucket.label

    def forget_set_of(self, name: str) -> ForgetSetConfig:
        """Return the forget set that a set of ``unlearned`` is, or is a bucket of."""
        return self.forget_sets[self.given(name)]

    @property
    def matched_within(self) -> float:
        """Share of the smallest number by which the largest may exceed it where sets count as alike."""
        return MATCHED_WITHIN if self.match is None else self.match.tolerance

    @property
    def matched(self) -> tuple[str, ...]:
        """The forget sets whose repetitions are chosen (``match``)."""
        if self.match is None:
            return ()
        return self.match.sets or tuple(self.forget_sets)

    @model_validator(mode="after")
    def _retain_evaluation_fits(self) -> Self:
        chosen = "retain_evaluation" in self.model_fields_set
        if chosen and self.retain is not None and self.retain_evaluation > self.retain:
            raise ValueError(f"retain_evaluation ({self.retain_evaluation}) must not exceed retain ({self.retain})")
        return self

    @model_validator(mode="after")
    def _sets_can_be_matched(self) -> Self:
        if self.match is None or self.match.settled:
            return self
        for key, named in (("sets", self.match.sets or ()), ("to", (self.match.to,) if self.match.to else ())):
            for name in named:
                if name not in self.forget_sets:
                    hint = nearest_name_hint(name, self.forget_sets)
                    raise ValueError(f"match.{key}: there is no forget set '{name}'; {hint}")
        if len(sets := self.matched) < 2:
            raise ValueError("match: there is one forget set, and nothing to match it to; leave 'match' out")
        if self.match.to is not None and self.match.to not in sets:
            raise ValueError(f"match.to: '{self.match.to}' is none of match.sets, {', '.join(sets)}; add it to them")
        for name in sets:
            if len(given := self.forget_sets[name].repetitions) > 1:
                raise ValueError(
                    f"match: it chooses the repetitions, and forget_sets.{name}.repetitions is a list, {list(given)}; "
                    f"give the one number to start from, or leave '{name}' out of match.sets. A sweep that is matched "
                    f"has match.settled: true, and keeps what was found"
                )
        return self
