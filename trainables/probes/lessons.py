"""What ``relearning`` fine-tunes on, and what it measures: the examples of every variant, drawn by seed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trainables.data import Example
from trainables.encoding import EncodedSet, encode
from trainables.errors import UnlearningError
from trainables.metrics import EvaluationSets
from trainables.preparation import form_of
from trainables.probes.probe import ProbedModel
from trainables.probes.settings import Lesson, RelearningSettings
from trainables.seeding import generator


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What is measured, which is the same for every variant, and what each variant is fine-tuned on."""

    measured: EvaluationSets
    """The part of the forget set that no variant is fine-tuned on, with a population that none is fine-tuned on."""
    taught: dict[Lesson, EncodedSet]
    """By variant, in the order of the settings."""


def draw_lessons(probed: ProbedModel, settings: RelearningSettings) -> Lessons:
    """Draw the examples of every variant, by the seed and the sizes of the sets alone.

    Models with the same data and seed are therefore fine-tuned on, and measured by, the same examples.

    Raises:
        UnlearningError: a set is too small to be divided, or there are no retained texts.
    """
    taught, kept = _divided(probed, settings.share)
    measured = probed.sets.with_examples(forget=kept)
    population_order = _shuffled(probed, "population", len(probed.sets.population))
    controls = population_order[: min(len(taught), len(population_order) // 2)]
    if "control" in settings.variants:
        _require_control(controls, probed)
        measured = measured.with_examples(population=sorted(population_order[len(controls) :]))
    choices: dict[Lesson, Callable[[], EncodedSet]] = {
        "in-domain": lambda: probed.sets.forget.select(taught),
        "out-of-domain": lambda: _unrelated(probed, len(taught)),
        "control": lambda: probed.sets.population.select(sorted(controls)),
    }
    return Lessons(measured=measured, taught={variant: choices[variant]() for variant in settings.variants})


def _divided(probed: ProbedModel, share: float) -> tuple[list[int], list[int]]:
    """Return the indices of the forget examples that are fine-tuned on, and of the others, each in their order."""
    size = len(probed.sets.forget)
    if size < 2:
        raise UnlearningError(
            f"probe 'relearning': the forget set has {size} example, and it takes two: one is fine-tuned on, another "
            f"one is measured; enlarge the forget set, or leave the probe out"
        )
    order = _shuffled(probed, "forget", size)
    taught = min(max(1, round(share * size)), size - 1)
    return sorted(order[:taught]), sorted(order[taught:])


def _require_control(controls: list[int], probed: ProbedModel) -> None:
    if not controls:
        raise UnlearningError(
            f"probe 'relearning': the population has {len(probed.sets.population)} example, of which none can be "
            f"fine-tuned on; enlarge the population, or leave 'control' out of variants"
        )


def _unrelated(probed: ProbedModel, count: int) -> EncodedSet:
    """Return retained examples, as many as asked for or all there are: no distractors, and preferably none that an
    evaluation scores.
    """
    distractors = probed.sets.distractors
    excluded = set(distractors.example_ids) if distractors is not None else set()
    scored = set(probed.sets.retain.example_ids)
    chosen, spare = list[Example](), list[Example]()
    for example in _in_random_order(probed):
        if example.example_id not in excluded:
            (spare if example.example_id in scored else chosen).append(example)
        if len(chosen) == count:
            break
    examples = [*chosen, *spare][:count]
    if not examples:
        raise UnlearningError(
            "probe 'relearning': there are no retained texts to fine-tune on out of domain; give data.retain, or leave "
            "'out-of-domain' out of variants"
        )
    return encode(
        probed.tokenizer,
        examples,
        max_tokens=probed.max_tokens,
        form=form_of(probed.config),
        chat_date=probed.config.chat_date,
    )


def _in_random_order(probed: ProbedModel) -> Iterator[Example]:
    for index in _shuffled(probed, "retain", len(probed.retain)):
        yield probed.retain[index]


def _shuffled(probed: ProbedModel, stream: str, size: int) -> list[int]:
    order: list[int] = generator(probed.seed, "relearning", stream).permutation(size).tolist()
    return order
