"""One evaluation: a model's exposure of a forget set, and its performance, at one step."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trainables.distributed import ALONE, WorkerGroup, unwrap_model
from trainables.encoding import EncodedSet
from trainables.metrics.difficulty import difficulty, memorization
from trainables.metrics.exposure import (
    Array,
    generalized_exposure,
    membership_auc,
    relative_exposure,
    relative_exposure_skew_normal,
)
from trainables.metrics.generation import GenerationTask, bleu_and_chrf, write
from trainables.metrics.likelihood import score_set
from trainables.metrics.untrained import EXPECTED_RELATIVE_EXPOSURE_BITS
from trainables.records import EvaluationRecord, ExampleRecord, Status

MAX_PERPLEXITY_NLL = 88.0
"""Perplexity is capped at exp(88): past it, it overflows float32 and says nothing that NLL does not."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSets:
    """What one forget set's evaluations score, and what was known of it before unlearning."""

    forget: EncodedSet
    population: EncodedSet
    heldout: EncodedSet
    retain: EncodedSet
    distractors: EncodedSet | None = None
    """What every model is trained on of the forget set's own kind; None: there are none."""
    base_logp_N: Array
    """log p of each forget example under the base model, nats."""
    reference_logp_SN: Array
    """The same under each reference model; S may be 0."""
    max_heldout_nll: float
    """The performance floor, in nats per token: a model above it has collapsed."""
    writing: GenerationTask | None = None
    """What an encoder-decoder model writes out of the held-out set."""

    def without_reference(self, index: int) -> "EvaluationSets":
        """Leave a reference model out of those that exposure is measured against.

        So a reference model is measured: against the others. A mean that contains the model itself is nearer to it
        than any other model can come.
        """
        return replace(self, reference_logp_SN=np.delete(self.reference_logp_SN, index, axis=0))


class NonFiniteEvaluationError(ArithmeticError):
    """A metric is NaN or infinite: the model has diverged, and there is nothing to record."""


def evaluate(
    model: Any,
    sets: EvaluationSets,
    *,
    batch_size: int,
    step: int,
    tokens_seen: int,
    elapsed_s: float,
    group: WorkerGroup = ALONE,
) -> tuple[EvaluationRecord, list[ExampleRecord]]:
    """Evaluate the model on every set; all workers of a team get the same records.

    Raises:
        NonFiniteEvaluationError: a likelihood or a mean is not finite.
    """
    model.eval()
    forget = score_set(model, sets.forget, batch_size=batch_size, group=group)
    population = score_set(model, sets.population, batch_size=batch_size, group=group)
    heldout_nll = score_set(model, sets.heldout, batch_size=batch_size, group=group).nll_per_token
    retain_nll = score_set(model, sets.retain, batch_size=batch_size, group=group).nll_per_token
    distractor_nll = None
    if sets.distractors is not None:
        distractor_nll = score_set(model, sets.distractors, batch_size=batch_size, group=group).nll_per_token
    if not (
        np.isfinite(forget.logp_N).all()
        and np.isfinite(population.logp_N).all()
        and all(math.isfinite(nll) for nll in (heldout_nll, retain_nll, distractor_nll) if nll is not None)
    ):
        raise NonFiniteEvaluationError(f"step {step}: a log-likelihood is not finite")

    nll_N, num_targets_N = forget.nll_per_token_N, forget.num_targets_N
    bleu = chrf = None
    if sets.writing is not None:
        outputs = write(unwrap_model(model), sets.writing, batch_size=batch_size, group=group)
        bleu, chrf = bleu_and_chrf(outputs, sets.writing.references)
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
        status=Status.COLLAPSED if heldout_nll > sets.max_heldout_nll else Status.COMPLETED,
        forget_nll=forget.nll_per_token,
        gen_ex=float(gen_ex_N.mean()) if has_references else None,
        gen_ex_abs=float(np.abs(gen_ex_N).mean()) if has_references else None,
        gen_ex_per_token=float((gen_ex_N / num_targets_N).mean()) if has_references else None,
        rel_ex=float(rel_ex_N.mean()),
        rel_ex_skew_normal=float(rel_ex_skew_normal_N.mean()),
        extraction_rate=float(forget.extracted_N.mean()),
        membership_auc=membership_auc(nll_N, population.nll_per_token_N),
        retain_nll=retain_nll,
        heldout_nll=heldout_nll,
        heldout_perplexity=math.exp(min(heldout_nll, MAX_PERPLEXITY_NLL)),
        bleu=bleu,
        chrf=chrf,
        unlearning_quality=unlearning_quality,
        performance=heldout_nll,
        population_nll=population.nll_per_token,
        distractor_nll=distractor_nll,
        tokens_seen=tokens_seen,
        elapsed_s=elapsed_s,
    )
    memorization_N = memorization(sets.base_logp_N, sets.reference_logp_SN, num_targets_N) if has_references else None
    difficulty_N = difficulty(sets.reference_logp_SN, num_targets_N) if has_references else None
    examples = [
        ExampleRecord(
            step=step,
            example_id=example_id,
            num_tokens=int(num_targets_N[i]),
            nll=float(nll_N[i]),
            gen_ex=float(gen_ex_N[i]) if has_references else None,
            rel_ex=float(rel_ex_N[i]),
            rel_ex_skew_normal=float(rel_ex_skew_normal_N[i]),
            extracted=bool(forget.extracted_N[i]),
            memorization=float(memorization_N[i]) if memorization_N is not None else None,
            difficulty=float(difficulty_N[i]) if difficulty_N is not None else None,
        )
        for i, example_id in enumerate(sets.forget.example_ids)
    ]
    return evaluation, examples
