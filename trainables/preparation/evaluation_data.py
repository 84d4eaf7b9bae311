"""The data that evaluations score: its tokenizer, its token ids, and its likelihood under base and reference models.

Everything is a pure function of its arguments. Caching and running in parallel is the orchestrator's.

Shape legend: N forget examples, S reference models.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from trainables.config import DataConfig, EvaluationConfig, ModelConfig
from trainables.data import Datasets, Example
from trainables.encoding import AnswerSets, EncodedSet, Form, encode, load_tokenizer, train_tokenizer
from trainables.metrics import Array, EvaluationSets, GenerationTask, score_set
from trainables.models import is_encoder_decoder


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
        By forget set: ``forget``, ``population``, ``heldout``, ``retain`` and, where it has any, ``distractors``.
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

    shared = {
        "heldout": encoded(datasets.heldout),
        "retain": encoded(datasets.retain_sample(data.retain_evaluation)),
    }
    return {
        name: {
            "forget": encoded(s.forget),
            "population": encoded(s.population),
            **({"distractors": encoded(s.distractors)} if s.distractors else {}),
            **shared,
        }
        for name, s in datasets.forget_sets.items()
    }


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
    batch_size: int,
    max_increase: float,
    generation: GenerationTask | None = None,
    answers: Mapping[str, Mapping[str, AnswerSets]] | None = None,
) -> dict[str, EvaluationSets]:
    """Score every forget set under the base and reference models, and return the sets of its evaluations by name.

    Args:
        encoded: the sets that evaluations score, by forget set (``encode_all``).
        models: the base model, then the reference models. Each is dropped before the next is taken.
        batch_size: examples in one forward pass.
        max_increase: the performance floor, in nats per token above the base model's held-out NLL.
        generation: the sources for which an encoder-decoder model generates texts.
        answers: sets with several answers to each prompt, by forget set (``encode_answers``); None: there are none.
    """
    logp_N: dict[str, list[Array]] = {name: [] for name in encoded}
    base_heldout_nll: dict[str, float] = {}
    for model in models:
        for name, own in encoded.items():
            logp_N[name].append(score_set(model, own["forget"], batch_size=batch_size).logp_N)
            if name not in base_heldout_nll:
                base_heldout_nll[name] = score_set(model, own["heldout"], batch_size=batch_size).nll_per_token
        del model
    return {
        name: EvaluationSets(
            **own,
            base_logp_N=logp_N[name][0],
            reference_logp_SN=np.array(logp_N[name][1:]).reshape(-1, len(own["forget"])),
            max_heldout_nll=base_heldout_nll[name] + max_increase,
            generation=generation,
            answers={} if answers is None else answers[name],
        )
        for name, own in encoded.items()
    }
