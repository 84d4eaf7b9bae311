"""Rewording: is the answer forgotten, or only the prompt that led to it?

The same answers are scored after other prompts: with their first words dropped, in another case, in templates, or as
the data words them. Never-trained examples (the population) are reworded alike, so relative exposure ranks like with
like; and base and reference models score the reworded examples too, so generalized exposure compares like with like.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from trainables.data import Example
from trainables.encoding import EncodedSet, encode
from trainables.errors import UnlearningError
from trainables.metrics import FIELDS_OF_TOKENS, EvaluationSets, ModelScores, score_set
from trainables.preparation import form_of
from trainables.probes.measuring import measure
from trainables.probes.probe import Finding, ProbedModel
from trainables.probes.prompts import Rewording, rewordings
from trainables.probes.settings import RewordingSettings

_ANY_LENGTH = 2**31
"""More tokens than any example has."""

_Texts = dict[str, EncodedSet]
"""The forget set and the population, by name."""


def rewording(probed: ProbedModel, settings: RewordingSettings) -> Iterator[Finding]:
    """Yield a measurement for each rewording: ``dropped-words``, ``changed-case``, ``template-1``, ...,
    ``other-prompt-1``, ... of the data.

    ``before`` is of the same examples with their original prompts. An example without a prompt is divided: its first
    words are the prompt, the others the answer. Examples that a rewording makes too long, or that are a single word,
    are left out of its measurements. Scores:

    - ``changed``: share of the prompts that the rewording changes;
    - ``measured``: number of examples; 0: none can be measured, and there is neither ``before`` nor ``after``;
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
    tried = [(reworded, _encoded_texts(probed, reworded)) for reworded in rewordings(probed, settings)]
    all_sets = iter(_evaluation_sets(probed, [texts for _, both in tried if both is not None for texts in both]))
    for reworded, both in tried:
        if both is None:
            yield Finding(variant=reworded.variant, scores={"measured": 0.0})
            continue
        original, other = next(all_sets), next(all_sets)
        before, after = measure(probed, original), measure(probed, other)
        changed = sum(old.prompt != new.prompt for old, new in reworded.forget)
        scores = {"changed": changed / len(reworded.forget), "measured": float(len(original.forget))}
        if after is None:
            scores["diverged"] = 1.0
        yield Finding(variant=reworded.variant, before=before, after=after, scores=scores)


def _encoded_texts(probed: ProbedModel, reworded: Rewording) -> tuple[_Texts, _Texts] | None:
    """Return forget set and population with the original prompts, and with the others; None: nothing is left of one."""
    forget, population = (_encoded(probed, pairs) for pairs in (reworded.forget, reworded.population))
    if forget is None or population is None:
        return None
    original, other = ({"forget": ours, "population": theirs} for ours, theirs in zip(forget, population, strict=True))
    return original, other


def _evaluation_sets(probed: ProbedModel, all_texts: Sequence[_Texts]) -> list[EvaluationSets]:
    """Return the sets with each of some texts in place of their own, scored under the base and reference models.

    Each of these models is taken once, and scores in fp32, as when the sweep began.
    """
    sets, size = probed.sets, probed.evaluation.batch_size
    compared: list[list[ModelScores]] = [[] for _ in all_texts]
    for model in probed.compared_models():
        device = next(model.parameters()).device
        with torch.autocast(device.type, enabled=False):
            for known, texts in zip(compared, all_texts, strict=True):
                known.append(
                    {
                        name: score_set(model, own, batch_size=size, reads=sets.reads(name) & FIELDS_OF_TOKENS)
                        for name, own in texts.items()
                    }
                )
    return [
        sets.with_texts(forget=texts["forget"], population=texts["population"], compared=known)
        for known, texts in zip(compared, all_texts, strict=True)
    ]


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
