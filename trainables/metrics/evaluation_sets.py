"""What the evaluations of one forget set score: encoded sets, the models before unlearning, the chosen metrics.

Shape legend: N forget examples, S reference models.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from trainables.config import OWN_NAMES, Trait
from trainables.distributed import ALONE, WorkerGroup, unwrap_model
from trainables.encoding import AnswerSets, EncodedSet
from trainables.metrics.chosen import ChosenMetric
from trainables.metrics.difficulty import difficulty, memorization
from trainables.metrics.generation import GenerationTask, generate, sample, truths
from trainables.metrics.scores import Array, ModelScores, SetScores
from trainables.metrics.scoring import MOMENTS, gradient_norms, score_set
from trainables.metrics.shipped.settings import GenerationSettings, GradientNormSettings, SampledLeakageSettings

FIELDS_OF_TRIALS = frozenset({"gradient_norms_NP", "truths", "generations", "samples"})
"""Fields of scores that no metric compares with other models: they are scored of the model in question alone."""

FIELDS_OF_TOKENS = frozenset({"logp_M", "is_top_M", *MOMENTS})
"""Fields that any set of tokens has."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSets:
    """The data that evaluations of one forget set score, and what models knew of it before unlearning."""

    forget: EncodedSet
    population: EncodedSet
    """Never-trained examples of the forget set's own kind, that relative exposure ranks against."""
    heldout: EncodedSet
    """Never-trained examples, by which performance is measured."""
    retain: EncodedSet
    """Trained examples that are to be kept."""
    distractors: EncodedSet | None = None
    """Examples of the forget set's own kind that every model is trained on; None: there are none."""
    answers: Mapping[str, AnswerSets] = field(default_factory=dict)
    """By name of the set, those with other answers; and the further sets of ``data.evaluation_sets``."""
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By name of the set, its target texts."""
    prompted: Mapping[str, GenerationTask] = field(default_factory=dict)
    """By name of the set, those for which chosen metrics need generated texts."""
    metrics: tuple[ChosenMetric, ...] = ()
    """What is computed beside exposure and performance."""
    base: ModelScores = field(default_factory=dict)
    """Scores of the base model: of ``forget``, and of what metrics compare with (``references``)."""
    references: tuple[ModelScores, ...] = ()
    """Scores of each reference model: of ``forget``, and of the sets that metrics compare."""
    selected: tuple[int, ...] = ()
    """Indices of the held-out examples that measure performance; the others measure the held-out NLL. Empty: all
    measure both."""
    max_heldout_nll: float = np.inf
    """The performance floor, in nats per token: a model whose performance is above it has collapsed."""
    generation: GenerationTask | None = None
    """The held-out examples for which an encoder-decoder model generates texts; None: no texts are generated."""

    @property
    def base_logp_N(self) -> Array:
        """log p of each forget example under the base model, nats."""
        return self.base["forget"].logp_N

    @property
    def reference_logp_SN(self) -> Array:
        """log p of each forget example under each reference model, nats; S may be 0."""
        return np.array([reference["forget"].logp_N for reference in self.references]).reshape(-1, len(self.forget))

    def trait_N(self, name: Trait) -> Array:
        """Return ``memorization`` or ``difficulty`` of each forget example before unlearning, nats per token."""
        num_targets_N = self.base["forget"].num_targets_N
        if name == "memorization":
            return memorization(self.base_logp_N, self.reference_logp_SN, num_targets_N)
        return difficulty(self.reference_logp_SN, num_targets_N)

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the sets that are scored under base and reference models too."""
        looked_at = {name for chosen in self.metrics if chosen.metric.needs_references for name in chosen.settings.sets}
        return tuple(dict.fromkeys(("forget", *sorted(looked_at))))

    def encoded(self, name: str) -> EncodedSet:
        """Return the set of a name."""
        own = getattr(self, name) if name in OWN_NAMES else None
        return own if own is not None else self.answers[name].original

    def performance_and_heldout_nll(self, heldout: SetScores) -> tuple[float, float]:
        """Return a model's performance and held-out NLL from its scores of the held-out set, nats per token."""
        if not self.selected:
            return heldout.nll_per_token, heldout.nll_per_token
        others = np.setdiff1d(np.arange(len(self.heldout)), self.selected)
        return heldout.select(list(self.selected)).nll_per_token, heldout.select(others.tolist()).nll_per_token

    def reads(self, name: str) -> frozenset[str]:
        """Return the fields of scores that chosen metrics look at in a set."""
        return frozenset().union(*(c.metric.reads for c in self.metrics if name in c.settings.sets))

    def without_reference(self, index: int) -> "EvaluationSets":
        """Return these sets without one of the reference models that exposure is measured against.

        A reference model is measured against the others: a mean that contains the model itself is nearer to it than any
        other model can come.
        """
        return replace(self, references=(*self.references[:index], *self.references[index + 1 :]))

    def with_examples(
        self, *, forget: Sequence[int] | None = None, population: Sequence[int] | None = None
    ) -> "EvaluationSets":
        """Return these sets with some of their examples only; what other models scored of them goes with them.

        Args:
            forget: indices of the forget examples, in the order that is wanted; None: all.
            population: indices of the population's examples; None: all.
        """
        given = {"forget": forget, "population": population}
        chosen = {name: list(indices) for name, indices in given.items() if indices is not None}

        def cut(scores: ModelScores) -> ModelScores:
            return {name: own.select(chosen[name]) if name in chosen else own for name, own in scores.items()}

        changes: dict[str, Any] = {name: self.encoded(name).select(indices) for name, indices in chosen.items()}
        return replace(
            self,
            **changes,
            base=cut(self.base),
            references=tuple(map(cut, self.references)),
            answers={name: own.select(chosen[name]) if name in chosen else own for name, own in self.answers.items()},
            texts={
                name: tuple(own[i] for i in chosen[name]) if name in chosen else own for name, own in self.texts.items()
            },
            prompted={
                name: task.select(chosen[name]) if name in chosen else task for name, task in self.prompted.items()
            },
        )

    def with_texts(
        self, *, forget: EncodedSet, population: EncodedSet, compared: Sequence[ModelScores] = ()
    ) -> "EvaluationSets":
        """Return these sets with other texts. Metrics that look at more than likelihoods have no values then.

        Args:
            forget: what is scored in place of the forget set.
            population: never-trained examples of the same kind.
            compared: scores of both by name, under the base model and each of ``references``. Empty: there are none;
                then there is neither generalized exposure nor a metric that compares with reference models.
        """
        known = zip((self.base, *self.references), compared, strict=True) if compared else [({}, {})]
        base, *references = ({**before, **scores} for before, scores in known)
        metrics = tuple(
            chosen
            for chosen in (chosen.of_forget_set() for chosen in self.metrics)
            if (references or not chosen.metric.needs_references)
            and chosen.metric.reads <= FIELDS_OF_TOKENS
            and set(chosen.settings.sets) <= {"forget", "population", "heldout"}
        )
        return replace(
            self,
            forget=forget,
            population=population,
            answers={},
            texts={},
            prompted={},
            metrics=metrics,
            base=base,
            references=tuple(references),
        )


def score_named(
    model: Any,
    sets: EvaluationSets,
    name: str,
    *,
    batch_size: int,
    reads: frozenset[str],
    group: WorkerGroup = ALONE,
    score: Callable[..., SetScores] = score_set,
) -> SetScores:
    """Return the scores of one of the sets, with the fields that are wanted and depend on no metric's settings.

    Args:
        model: the model, in evaluation mode, on its device.
        sets: the data of one forget set.
        name: of the set.
        batch_size: examples of one worker in a forward pass.
        reads: fields of ``SetScores`` beyond those of likelihood and greedy choices.
        group: the workers that share the work; all get the same scores.
        score: ``score_set``, or what stands for it.
    """

    def scored(encoded: EncodedSet) -> SetScores:
        return score(model, encoded, batch_size=batch_size, group=group, reads=reads)

    own = scored(sets.encoded(name))
    found: dict[str, Any] = {}
    if "texts" in reads:
        found["texts"] = sets.texts[name]
    if name in sets.answers:
        answers = sets.answers[name]
        if "paraphrase" in reads and answers.paraphrase is not None:
            found["paraphrase"] = scored(answers.paraphrase)
        if "perturbed" in reads:
            found["perturbed"] = tuple(map(scored, answers.perturbed))
    return replace(own, **found)


@dataclass(frozen=True, kw_only=True)
class ScoresBySettings:
    """Scores of a model that depend on the settings of a metric. What several metrics share is scored once."""

    model: Any
    """The model, in evaluation mode, on its device."""
    sets: EvaluationSets
    batch_size: int
    """Examples of one worker at a time."""
    group: WorkerGroup
    """The workers that share the work; all get the same scores."""
    _known: dict[tuple[Any, ...], Any] = field(default_factory=dict, init=False)

    def of(self, chosen: ChosenMetric, scored: ModelScores) -> ModelScores:
        """Return the scores with the fields that a metric looks at and that its own settings decide."""
        wanted = sorted(chosen.metric.reads & FIELDS_OF_TRIALS)
        if not wanted:
            return scored
        own = {name: {one: self._field(one, name, chosen) for one in wanted} for name in chosen.settings.sets}
        return {**scored, **{name: replace(scored[name], **found) for name, found in own.items()}}

    def _field(self, wanted: str, name: str, chosen: ChosenMetric) -> Any:
        settings, model = chosen.settings, unwrap_model(self.model)
        if wanted == "gradient_norms_NP":
            p = float(settings.p if isinstance(settings, GradientNormSettings) else GradientNormSettings().p)
            return self._once(
                (wanted, name, p, chosen.convention),
                lambda: gradient_norms(
                    model,
                    self.sets.encoded(name),
                    p=p,
                    without_last=chosen.convention is not None,
                    group=self.group,
                ),
            )
        if wanted == "truths":
            return truths(self.sets.prompted[name])
        longest = (settings if isinstance(settings, GenerationSettings) else GenerationSettings()).max_new_tokens
        task = replace(self.sets.prompted[name], longest=longest)
        work: dict[str, Any] = {"batch_size": self.batch_size, "group": self.group}
        if wanted == "generations":
            return self._once((wanted, name, longest), lambda: tuple(generate(model, task, **work)))
        drawn = settings if isinstance(settings, SampledLeakageSettings) else SampledLeakageSettings()
        return self._once(
            (wanted, name, longest, drawn.samples, drawn.temperature),
            lambda: sample(model, task, samples=drawn.samples, temperature=drawn.temperature, **work),
        )

    def _once(self, key: tuple[Any, ...], score: Callable[[], Any]) -> Any:
        if key not in self._known:
            self._known[key] = score()
        return self._known[key]
