"""Rewording: is the answer forgotten, or only the prompt that led to it?

The same answers are scored after other prompts: with their first words dropped, in another case, in templates, or as
the data words them. Never-trained examples (the population) are reworded alike, so relative exposure ranks like with
like.

**Exposure against reference models** needs the references' likelihoods under the same rewording. Running the probe on a
reference model gives a record of its NLL (``forget_nll``) for each variant. With these records as
``ProbedModel.references``, the scores ``exposure`` and ``exposure_before`` are

    mean_x [log2 p(x) - mean_R log2 p_R(x)]    bits

that is, generalized exposure with the geometric mean over references in place of the arithmetic one. It takes means
only and no likelihood of a single example. It is equal to GenEx with one reference, and never below it with several.
Evaluations of a reworded set have no ``gen_ex``, since the likelihoods that sets hold are of the original prompts.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from trainables.data import Example
from trainables.encoding import EncodedSet, encode
from trainables.errors import UnlearningError
from trainables.metrics import EvaluationSets
from trainables.preparation import form_of
from trainables.probes.measuring import measure
from trainables.probes.probe import Finding, ProbedModel, ProbeRecord
from trainables.probes.prompts import Rewording, rewordings
from trainables.probes.settings import RewordingSettings
from trainables.records import EvaluationRecord

_ANY_LENGTH = 2**31
"""More tokens than any example has."""


def rewording(probed: ProbedModel, settings: RewordingSettings) -> Iterator[Finding]:
    """Yield a measurement for each rewording: ``dropped-words``, ``changed-case``, ``template-1``, ...,
    ``other-prompt-1``, ... of the data.

    ``before`` is of the same examples with their original prompts. An example without a prompt is divided: its first
    words are the prompt, the others the answer. Examples that a rewording makes too long, or that are a single word,
    are left out of its measurements. Scores:

    - ``changed``: share of the prompts that the rewording changes;
    - ``measured``: number of examples; 0: none can be measured, and there is neither ``before`` nor ``after``;
    - ``exposure``, ``exposure_before``: see the module; absent without records of reference models;
    - ``diverged``: 1 where a likelihood is not finite; then there is no ``after``.

    Raises:
        UnlearningError: the population's texts are missing.
    """
    if len(probed.population) != len(probed.sets.population):
        raise UnlearningError(
            f"probe 'rewording': {len(probed.population)} texts are given of a population of "
            f"{len(probed.sets.population)} examples, and each is reworded as the forget set is; give all of them "
            f"(ProbedModel.population)"
        )
    for reworded in rewordings(probed, settings):
        changed = sum(old.prompt != new.prompt for old, new in reworded.forget)
        sets = _encoded_sets(probed, reworded)
        if sets is None:
            yield Finding(variant=reworded.variant, scores={"measured": 0.0})
            continue
        original, other = sets
        before, after = measure(probed, original), measure(probed, other)
        scores = {"changed": changed / len(reworded.forget), "measured": float(len(original.forget))}
        for name, own, texts, theirs in (
            ("exposure_before", before, original, [r.before for r in _references(probed, reworded.variant)]),
            ("exposure", after, other, [r.after for r in _references(probed, reworded.variant)]),
        ):
            nlls = [record.forget_nll for record in theirs if record is not None]
            if own is not None and nlls:
                scores[name] = exposure_bits(own, nlls, texts.forget)
        if after is None:
            scores["diverged"] = 1.0
        yield Finding(variant=reworded.variant, before=before, after=after, scores=scores)


def exposure_bits(own: EvaluationRecord, reference_nlls: Sequence[float], encoded: EncodedSet) -> float:
    """Return ``mean_x [log2 p(x) - mean_R log2 p_R(x)]`` from NLLs in nats per token of the same set."""
    tokens_per_example = float(encoded.num_targets_N.mean())
    above = math.fsum(reference_nlls) / len(reference_nlls) - own.forget_nll
    return above * tokens_per_example / math.log(2)


def _references(probed: ProbedModel, variant: str) -> Iterator[ProbeRecord]:
    """Yield the records of a variant of other models than this one."""
    for record in probed.references:
        if (record.probe, record.variant) == ("rewording", variant) and record.role != probed.role:
            yield record


def _encoded_sets(probed: ProbedModel, reworded: Rewording) -> tuple[EvaluationSets, EvaluationSets] | None:
    """Return the sets with the original prompts and with the others; None: nothing is left of one of them."""
    forget, population = (_encoded(probed, pairs) for pairs in (reworded.forget, reworded.population))
    if forget is None or population is None:
        return None
    original, other = (
        probed.sets.with_texts(forget=ours, population=theirs) for ours, theirs in zip(forget, population, strict=True)
    )
    return original, other


def _encoded(probed: ProbedModel, pairs: Sequence[tuple[Example, Example]]) -> tuple[EncodedSet, EncodedSet] | None:
    """Tokenize examples with both prompts, and leave out those that are too long with either; None: none is left."""
    old, new = (
        encode(
            probed.tokenizer,
            examples,
            max_tokens=_ANY_LENGTH,
            form=form_of(probed.config),
            extraction_prefix=probed.evaluation.extraction_prefix,
            chat_date=probed.config.chat_date,
        )
        for examples in ([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    )
    longest_N = np.maximum(np.diff(old.offsets), np.diff(new.offsets))
    kept = np.flatnonzero(longest_N <= probed.max_tokens).tolist()
    return (old.select(kept), new.select(kept)) if kept else None
