"""One evaluation: a model's exposure of a forget set, and its performance, at one step.

Shape legend: N forget examples, S reference models. Formulas and sources are in ``exposure`` and ``difficulty``.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from trainables.distributed import ALONE, WorkerGroup, unwrap_model
from trainables.metrics.evaluation_sets import EvaluationSets, ScoresBySettings, score_named
from trainables.metrics.exposure import (
    generalized_exposure,
    membership_auc,
    relative_exposure,
    relative_exposure_skew_normal,
)
from trainables.metrics.generation import bleu_and_chrf, generate
from trainables.metrics.scores import ModelScores, Scores, SetScores
from trainables.metrics.scoring import score_set
from trainables.metrics.untrained import EXPECTED_RELATIVE_EXPOSURE_BITS
from trainables.records import EvaluationRecord, ExampleRecord, Status

MAX_PERPLEXITY_NLL = 88.0
"""Perplexity is capped at exp(88), in nats per token: more overflows float32 and tells nothing that NLL does not."""


class NonFiniteEvaluationError(ArithmeticError):
    """A log-likelihood or a mean is NaN or infinite: the model has diverged, and there is nothing to record."""


def evaluate(
    model: Any,
    sets: EvaluationSets,
    *,
    batch_size: int,
    step: int,
    tokens_seen: int,
    elapsed_s: float,
    group: WorkerGroup = ALONE,
    score: Callable[..., SetScores] = score_set,
) -> tuple[EvaluationRecord, list[ExampleRecord]]:
    """Evaluate a model on every set.

    Args:
        model: the model, on its device.
        sets: the data of one forget set.
        batch_size: examples of one worker in a forward pass.
        step: steps that the model was ascended.
        tokens_seen: forget targets that it was ascended on so far.
        elapsed_s: seconds spent on the trial so far.
        group: the workers that share the work; all get the same records.
        score: ``score_set``, or what stands for it.

    Returns:
        The evaluation, and a record of every forget example in the order of the set.

    Raises:
        NonFiniteEvaluationError: a likelihood or a mean is not finite.
    """
    model.eval()
    names = ["forget", "population", "heldout", "retain", *(["distractors"] if sets.distractors is not None else [])]
    names += sorted({name for chosen in sets.metrics for name in chosen.settings.sets} - set(names))
    scored = {
        name: score_named(model, sets, name, batch_size=batch_size, reads=sets.reads(name), group=group, score=score)
        for name in names
    }
    forget, population = scored["forget"], scored["population"]
    performance, heldout_nll = sets.performance_and_heldout_nll(scored["heldout"])
    retain_nll = scored["retain"].nll_per_token
    distractor_nll = scored["distractors"].nll_per_token if sets.distractors is not None else None
    if not (
        np.isfinite(forget.logp_N).all()
        and np.isfinite(population.logp_N).all()
        and all(math.isfinite(nll) for nll in (performance, heldout_nll, retain_nll, distractor_nll) if nll is not None)
    ):
        raise NonFiniteEvaluationError(f"step {step}: a log-likelihood is not finite")
    by_settings = ScoresBySettings(model=model, sets=sets, batch_size=batch_size, group=group)
    metrics, example_metrics = _computed(scored, by_settings)

    assert forget.extracted_N is not None
    extracted_N = forget.extracted_N
    nll_N, num_targets_N = forget.nll_per_token_N, forget.num_targets_N
    bleu = chrf = None
    if sets.generation is not None:
        outputs = generate(unwrap_model(model), sets.generation, batch_size=batch_size, group=group)
        bleu, chrf = bleu_and_chrf(outputs, sets.generation.references)
    rel_ex_N = relative_exposure(nll_N, population.nll_per_token_N)
    rel_ex_skew_normal_N = relative_exposure_skew_normal(nll_N, population.nll_per_token_N)
    has_references = len(sets.reference_logp_SN) > 0
    if has_references:
        gen_ex_N = generalized_exposure(forget.logp_N[np.newaxis], sets.reference_logp_SN)
        unlearning_quality = float(np.abs(gen_ex_N).mean())
    else:
        unlearning_quality = float(np.abs(rel_ex_N - EXPECTED_RELATIVE_EXPOSURE_BITS).mean())

    evaluation = EvaluationRecord(
        step=step,
        status=Status.COLLAPSED if performance > sets.max_heldout_nll else Status.COMPLETED,
        forget_nll=forget.nll_per_token,
        gen_ex=float(gen_ex_N.mean()) if has_references else None,
        gen_ex_abs=float(np.abs(gen_ex_N).mean()) if has_references else None,
        gen_ex_per_token=float((gen_ex_N / num_targets_N).mean()) if has_references else None,
        rel_ex=float(rel_ex_N.mean()),
        rel_ex_skew_normal=float(rel_ex_skew_normal_N.mean()),
        extraction_rate=float(extracted_N.mean()),
        membership_auc=membership_auc(nll_N, population.nll_per_token_N),
        retain_nll=retain_nll,
        heldout_nll=heldout_nll,
        heldout_perplexity=math.exp(min(heldout_nll, MAX_PERPLEXITY_NLL)),
        bleu=bleu,
        chrf=chrf,
        unlearning_quality=unlearning_quality,
        performance=performance,
        population_nll=population.nll_per_token,
        distractor_nll=distractor_nll,
        tokens_seen=tokens_seen,
        elapsed_s=elapsed_s,
        metrics=metrics,
    )
    memorization_N = sets.trait_N("memorization") if has_references else None
    difficulty_N = sets.trait_N("difficulty") if has_references else None
    examples = [
        ExampleRecord(
            step=step,
            example_id=example_id,
            num_tokens=int(num_targets_N[i]),
            nll=float(nll_N[i]),
            gen_ex=float(gen_ex_N[i]) if has_references else None,
            rel_ex=float(rel_ex_N[i]),
            rel_ex_skew_normal=float(rel_ex_skew_normal_N[i]),
            extracted=bool(extracted_N[i]),
            memorization=float(memorization_N[i]) if memorization_N is not None else None,
            difficulty=float(difficulty_N[i]) if difficulty_N is not None else None,
            metrics=example_metrics[i],
        )
        for i, example_id in enumerate(sets.forget.example_ids)
    ]
    return evaluation, examples


def _computed(scored: ModelScores, by_settings: ScoresBySettings) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Return the values of the chosen metrics, and those of each forget example; what is not finite is left out."""
    sets = by_settings.sets
    whole: dict[str, float] = {}
    examples: list[dict[str, float]] = [{} for _ in sets.forget.example_ids]
    for chosen in sets.metrics:
        scores = Scores(model=by_settings.of(chosen, scored), base=sets.base, references=sets.references)
        for name, value in chosen.compute(scores).items():
            if not isinstance(value, np.ndarray):
                whole |= {name: value} if value is not None and math.isfinite(value) else {}
                continue
            for own, number in zip(examples, value.tolist(), strict=True):
                own.update({name.removesuffix("_N"): number} if math.isfinite(number) else {})
    return whole, examples
