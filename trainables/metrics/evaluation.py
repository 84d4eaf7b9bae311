"""One evaluation: a model's exposure of a forget set, and its performance, at one step.

Shape legend: N forget examples, S reference models. Formulas and sources are in ``exposure`` and ``difficulty``.
"""

import math
from collections.abc import Sequence
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
from trainables.metrics.generation import GenerationTask, bleu_and_chrf, generate
from trainables.metrics.likelihood import score_set
from trainables.metrics.untrained import EXPECTED_RELATIVE_EXPOSURE_BITS
from trainables.records import EvaluationRecord, ExampleRecord, Status

MAX_PERPLEXITY_NLL = 88.0
"""Perplexity is capped at exp(88), in nats per token: more overflows float32 and tells nothing that NLL does not."""


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
    base_logp_N: Array
    """log p of each forget example under the base model, nats."""
    reference_logp_SN: Array
    """log p of each forget example under each reference model, nats; S may be 0."""
    max_heldout_nll: float
    """The performance floor, in nats per token: a model above it has collapsed."""
    generation: GenerationTask | None = None
    """The held-out examples for which an encoder-decoder model generates texts; None: no texts are generated."""

    def without_reference(self, index: int) -> "EvaluationSets":
        """Return these sets without one of the reference models that exposure is measured against.

        A reference model is measured against the others: a mean that contains the model itself is nearer to it than any
        other model can come.
        """
        return replace(self, reference_logp_SN=np.delete(self.reference_logp_SN, index, axis=0))

    def with_forget(self, indices: Sequence[int]) -> "EvaluationSets":
        """Return these sets with some of the forget examples only, in the order of ``indices``.

        What base and reference models knew of the chosen examples goes with them. The population stays.
        """
        chosen = list(indices)
        return replace(
            self,
            forget=self.forget.select(chosen),
            base_logp_N=self.base_logp_N[chosen],
            reference_logp_SN=self.reference_logp_SN[:, chosen],
        )

    def with_texts(self, *, forget: EncodedSet, population: EncodedSet) -> "EvaluationSets":
        """Return these sets with other texts, of which neither base nor reference models have scores.

        Without references, their evaluations have relative exposure, but no generalized exposure.

        Args:
            forget: what is scored in place of the forget set.
            population: never-trained examples of the same kind.
        """
        unknown_N = np.full(len(forget), np.nan)
        return replace(
            self,
            forget=forget,
            population=population,
            base_logp_N=unknown_N,
            reference_logp_SN=unknown_N[np.newaxis][:0],
        )


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

    Returns:
        The evaluation, and a record of every forget example in the order of the set.

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
