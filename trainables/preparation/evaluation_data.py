"""The data that evaluations score: its tokenizer, its token ids, and its likelihood under base and reference models.

Everything is a pure function of its arguments. Caching and running in parallel is the orchestrator's.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import repeat
from typing import Any

from trainables.config import DataConfig, EvaluationConfig, ModelConfig
from trainables.data import Datasets, Example
from trainables.encoding import AnswerSets, EncodedSet, Form, encode, load_tokenizer, train_tokenizer
from trainables.metrics import (
    FIELDS_OF_TRIALS,
    ChosenMetric,
    EvaluationSets,
    GenerationTask,
    ModelScores,
    SetScores,
    score_named,
    score_set,
)
from trainables.models import is_encoder_decoder
from trainables.seeding import generator


def prepare_tokenizer(model: ModelConfig, datasets: Datasets) -> Any:
    """Return the pretrained tokenizer, or train one on the reference models' data: forget sets leave no trace in it.

    Raises:
        UnlearningError: the pretrained tokenizer cannot be loaded.
    """
    if model.pretrained is not None:
        return load_tokenizer(model)
    texts = (example.text for example in datasets.reference_training())
    return train_tokenizer(texts, model.vocab_size, encoder_decoder=is_encoder_decoder(model))


def form_of(model: ModelConfig) -> Form:
    """Return how the texts of examples become tokens for a model."""
    if model.chat_template:
        return Form.CHAT
    return Form.PAIR if is_encoder_decoder(model) else Form.TEXT


def scored_examples(datasets: Datasets, data: DataConfig) -> dict[str, dict[str, Sequence[Example]]]:
    """Return the examples that evaluations score.

    Args:
        datasets: the data of the sweep.
        data: how many retained examples are scored.

    Returns:
        By forget set: ``forget``, ``population``, ``heldout``, ``retain`` and, where it has any, ``distractors``.
    """
    shared = {"heldout": datasets.heldout, "retain": datasets.retain_sample(data.retain_evaluation)}
    return {
        name: {
            "forget": own.forget,
            "population": own.population,
            **({"distractors": own.distractors} if own.distractors else {}),
            **shared,
        }
        for name, own in datasets.forget_sets.items()
    }


def encode_all(
    tokenizer: Any,
    datasets: Datasets,
    data: DataConfig,
    evaluation: EvaluationConfig,
    *,
    form: Form = Form.TEXT,
    chat_date: date | None = None,
) -> dict[str, dict[str, EncodedSet]]:
    """Tokenize the sets that evaluations score.

    Args:
        tokenizer: of the model.
        datasets: the data of the sweep.
        data: how long examples may be, and how many retained ones are scored.
        evaluation: the share of a target that is given as prefix in extraction.
        form: how texts become tokens.
        chat_date: the date that a chat template gets, if it writes one.

    Raises:
        UnlearningError: an example cannot be scored; the message names it.

    Returns:
        By forget set, its sets by name (``scored_examples``).
    """

    def encoded(examples: Sequence[Example]) -> EncodedSet:
        return encode(
            tokenizer,
            examples,
            max_tokens=data.max_tokens,
            form=form,
            extraction_prefix=evaluation.extraction_prefix,
            chat_date=chat_date,
        )

    found: dict[str, dict[str, EncodedSet]] = {}
    known: dict[int, EncodedSet] = {}  # of the sets that all forget sets share
    for name, own in scored_examples(datasets, data).items():
        found[name] = {}
        for part, examples in own.items():
            if id(examples) not in known:
                known[id(examples)] = encoded(examples)
            found[name][part] = known[id(examples)]
    return found


def generation_task(
    tokenizer: Any, datasets: Datasets, data: DataConfig, evaluation: EvaluationConfig, *, form: Form
) -> GenerationTask | None:
    """Return the generation task of an encoder-decoder, the first ``evaluation.generated`` held-out examples.

    None: the model is none, or no texts are to be generated.
    """
    chosen = datasets.heldout[: evaluation.generated]
    if form is not Form.PAIR or not chosen:
        return None
    return GenerationTask(
        encoded=encode(tokenizer, chosen, max_tokens=data.max_tokens, form=form),
        references=tuple(example.completion for example in chosen),
        tokenizer=tokenizer,
    )


def evaluation_sets(
    encoded: Mapping[str, dict[str, EncodedSet]],
    *,
    models: Iterable[Any],
    scorers: Sequence[Callable[..., SetScores]] = (),
    batch_size: int,
    max_increase: float,
    selected: tuple[int, ...] = (),
    generation: GenerationTask | None = None,
    metrics: tuple[ChosenMetric, ...] = (),
    examples: Mapping[str, Mapping[str, Sequence[Example]]] | None = None,
    tokenizer: Any = None,
    answers: Mapping[str, Mapping[str, AnswerSets]] | None = None,
) -> dict[str, EvaluationSets]:
    """Score every forget set under the base and reference models, and return the sets of its evaluations by name.

    Args:
        encoded: the sets that evaluations score, by forget set (``encode_all``).
        models: the base model, then the reference models. Each is dropped before the next is taken.
        scorers: what stands for ``score_set`` under each model; empty: that itself.
        batch_size: examples in one forward pass.
        max_increase: the performance floor, in nats per token above the base model's performance.
        selected: the held-out examples that measure performance (``selection``); empty: all.
        generation: the sources for which an encoder-decoder model generates texts.
        metrics: what evaluations compute beside exposure and performance.
        examples: the same sets as texts (``scored_examples``); needed where a metric looks at texts.
        tokenizer: of the model; needed where a metric looks at generated texts.
        answers: sets with several answers to each prompt, by forget set (``encode_answers``); None: there are none.
    """
    sets = {}
    for name, parts in encoded.items():
        named: dict[str, Any] = dict(parts)
        bare = EvaluationSets(
            **named,
            metrics=metrics,
            generation=generation,
            selected=selected,
            answers=answers[name] if answers is not None else {},
        )
        sets[name] = _with_texts(bare, (examples or {}).get(name, {}), tokenizer)
    known: dict[str, list[ModelScores]] = {name: [] for name in encoded}
    base_performance: dict[str, float] = {}
    scoring = iter(scorers or repeat(score_set))
    for model in models:
        score = next(scoring)  # zip would hold on to the model until it has the next
        for name, own in sets.items():
            known[name].append(
                {
                    part: score_named(
                        model,
                        own,
                        part,
                        batch_size=batch_size,
                        reads=own.reads(part) - FIELDS_OF_TRIALS,
                        score=score,
                    )
                    for part in own.compared
                }
            )
            if name not in base_performance:
                scores = score(model, own.heldout, batch_size=batch_size, reads=own.reads("heldout"))
                base_performance[name], _ = own.performance_and_heldout_nll(scores)
        del model
    return {
        name: replace(
            own,
            base=known[name][0],
            references=tuple(known[name][1:]),
            max_heldout_nll=base_performance[name] + max_increase,
        )
        for name, own in sets.items()
    }


def selection(size: int, share: float, seed: int) -> tuple[int, ...]:
    """Return the indices of the held-out examples by which choices are made (``evaluation.selection_share``).

    Args:
        size: number of held-out examples, at least 2 for a share above 0.
        share: of them; 0: none is drawn, and all measure performance and held-out NLL alike.
        seed: of the draw.
    """
    if not share:
        return ()
    count = min(max(1, round(share * size)), size - 1)
    return tuple(sorted(generator(seed, "selection").permutation(size)[:count].tolist()))


def _with_texts(sets: EvaluationSets, examples: Mapping[str, Sequence[Example]], tokenizer: Any) -> EvaluationSets:
    """Return the sets with the texts that chosen metrics look at, and the prompts that they have models go on from."""
    texts, prompted = {}, {}
    for name, own in examples.items():
        reads = sets.reads(name)
        if "texts" in reads:
            texts[name] = tuple(example.completion for example in own)
        if {"truths", "generations", "samples"} & reads:
            prompted[name] = GenerationTask(
                encoded=sets.encoded(name),
                references=tuple(example.completion for example in own),
                tokenizer=tokenizer,
            )
    return replace(sets, texts=texts, prompted=prompted)
