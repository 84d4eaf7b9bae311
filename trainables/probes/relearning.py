"""Relearning: does what was unlearned come back after a few steps of fine-tuning that do not show it?

A part A of the forget set is fine-tuned on, and the other part B is measured, so that nothing of B is ever shown (Deeb
& Roger 2024, arXiv 2410.08827). That B becomes likelier can mean two things: the model *recovers* what it still held,
or A has *taught* it what texts of this kind are like. Three comparisons tell them apart:

- **The same run on reference models.** A model that never saw B cannot recover it: what it gains on B is re-teaching.
  Recovery is what the unlearned model gains beyond that: ``after.gen_ex - before.gen_ex`` of the unlearned model minus
  that of a reference model, bits. The score ``regained`` has one scale for all roles, and is subtracted alike.
- **Never-trained examples in the same run.** Each record also has ``population_nll`` before and after: how much the
  same fine-tuning helps with examples of the same kind that nobody has trained on. Where B gains no more than they do,
  its ``rel_ex`` and ``membership_auc`` stay as they were.
- **The variant** ``control``: as many never-trained examples of the kind are fine-tuned on in place of A. What B gains
  there needs no example of the forget set, only texts of its kind.

A model that is over-unlearned (``before.gen_ex`` below 0) first comes back to what a never-trained model has. That much
of its gain is repair: look at how far ``after.gen_ex`` is above that of the reference models.

``out-of-domain`` is the second kind of attack: fine-tuning on retained texts that have nothing to do with the forget
set. (Of a forget set that is drawn from the training distribution, retained texts are of its kind too.)
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from trainables.metrics import EvaluationSets
from trainables.probes.fine_tuning import FineTuning
from trainables.probes.lessons import draw_lessons
from trainables.probes.measuring import fine_tunable, measure, restored_afterwards
from trainables.probes.probe import Finding, ProbedModel
from trainables.probes.settings import RelearningSettings
from trainables.records import EvaluationRecord

_LEAST_REMOVED = 1e-3
"""Nats per token: where less of the base model's likelihood is gone, a share of it that comes back means nothing."""

_LEAST_SHARE_REMOVED = 0.05
"""Nor where less is gone than this share of what the base model has beyond the reference models."""


def relearning(probed: ProbedModel, settings: RelearningSettings) -> Iterator[Finding]:
    """Yield for each variant the measurements after each number of steps, until the model diverges, if it does.

    The amount is the number of steps, and ``before`` is part B before any of them. Scores:

    - ``share``: of the forget set, fine-tuned on in the variant ``in-domain`` (part A);
    - ``fine_tuned``, ``measured``: number of examples;
    - ``regained``: the share of what the model lacks of the base model's exposure that has come back,
      ``(nll before - nll after) / (nll before - nll under the base model)`` of part B. 0: none, 1: all of it. As the
      references' likelihoods cancel, it is the same for GenEx in bits. Absent where hardly anything is gone: less than
      5 % of the base model's mean GenEx, or, without reference models, less than 0.001 nats per token;
    - ``steps_to_half``: steps until ``regained`` is 0.5, interpolated linearly between measurements. Absent up to the
      record that passes it, and in all of them where half does not come back within the steps (censored);
    - ``diverged``: 1 in the last record of a variant whose loss is not finite; it has no ``after``.

    Raises:
        UnlearningError: a set is too small to be divided, or there are no retained texts.
    """
    lessons = draw_lessons(probed, settings)
    measured = lessons.measured
    before = measure(probed, measured)
    share = 1 - len(measured.forget) / len(probed.sets.forget)
    with fine_tunable(probed) as model:
        for variant, taught in lessons.taught.items():
            sizes = {"share": share, "fine_tuned": float(len(taught)), "measured": float(len(measured.forget))}
            with restored_afterwards(model):
                tuning = FineTuning(model, taught, settings, seed=probed.seed, variant=variant)
                for step, after, scores in _curve(probed, tuning, settings.steps, measured, before):
                    yield Finding(variant=variant, amount=step, before=before, after=after, scores={**sizes, **scores})


def _curve(
    probed: ProbedModel,
    tuning: FineTuning,
    steps: Sequence[int],
    measured: EvaluationSets,
    before: EvaluationRecord | None,
) -> Iterator[tuple[int, EvaluationRecord | None, dict[str, float]]]:
    """Yield each step with the evaluation after it and the scores of the curve so far."""
    base, never_trained = base_nll(measured), never_trained_nll(measured)
    curve = [(0.0, 0.0)]
    for step in steps:
        reached = tuning.advance(step)
        after = measure(probed, measured, step=step, tokens_seen=tuning.tokens_seen) if reached else None
        if before is None or after is None:
            yield step, None, {"diverged": 1.0}
            return
        scores = {}
        regained = regained_share(before.forget_nll, after.forget_nll, base, never_trained)
        if regained is not None:
            curve.append((float(step), regained))
            scores["regained"] = regained
            half = first_crossing(curve, 0.5)
            if half is not None:
                scores["steps_to_half"] = half
        yield step, after, scores


def base_nll(sets: EvaluationSets) -> float:
    """Return the base model's NLL of the forget examples, nats per token."""
    return float(-sets.base_logp_N.sum() / sets.forget.num_targets_N.sum())


def never_trained_nll(sets: EvaluationSets) -> float | None:
    """Return the mean NLL of the forget examples under the reference models, nats per token; None: there are none."""
    if not sets.references:
        return None
    return float(-sets.reference_logp_SN.mean(0).sum() / sets.forget.num_targets_N.sum())


def regained_share(before: float, after: float, base: float, never_trained: float | None = None) -> float | None:
    """Return what share of the gap between two NLLs a third one has closed; None: there is hardly a gap.

    All are token-weighted NLLs of the same examples, in nats per token. Times their number of tokens they are sums of
    log p(x), so that the share is that of mean exposures too.

    Args:
        before: under the probed model.
        after: under the same model after fine-tuning.
        base: under the base model.
        never_trained: under the reference models; None: there are none.
    """
    removed = before - base
    least = 0.0 if never_trained is None else _LEAST_SHARE_REMOVED * (never_trained - base)
    return (before - after) / removed if removed > max(_LEAST_REMOVED, least) else None


def first_crossing(curve: Sequence[tuple[float, float]], level: float) -> float | None:
    """Return where a curve first reaches a level, interpolated linearly between its points; None: nowhere."""
    for (left, low), (right, high) in pairwise(curve):
        if high >= level:
            return left + (right - left) * (level - low) / (high - low)
    return None
