"""Made-up scores, as an evaluation would have them."""

import numpy as np

from trainables.metrics import Scores, SetScores


def made_up(rng, examples=6, *, longest=9, shift=0.0, **others):
    """Scores of examples of 2 to ``longest`` tokens."""
    lengths = rng.integers(2, longest + 1, size=examples)
    logp = [-rng.gamma(1.5, 1.0, size=n) - shift for n in lengths]
    return SetScores.of(
        logp,
        is_top_M=[rng.random(n) < 0.6 for n in lengths],
        mean_logp_M=[-rng.gamma(2.0, 1.0, size=n) for n in lengths],
        variance_logp_M=[rng.gamma(2.0, 1.0, size=n) for n in lengths],
        texts=tuple("abc " * n for n in lengths),
        gradient_norms_NP=rng.gamma(1.0, 1.0, size=(examples, 3)),
        **others,
    )


def with_answers(rng, examples=6, **others):
    return made_up(
        rng,
        examples,
        paraphrase=made_up(rng, examples),
        perturbed=tuple(made_up(rng, examples, shift=0.5) for _ in range(3)),
        truths=tuple(f"the answer is number {i}" for i in range(examples)),
        generations=tuple(f"an answer is number {i % 2}" for i in range(examples)),
        samples=tuple((f"answer {i}", f"the answer is number {i} and more") for i in range(examples)),
        **others,
    )


def all_scores(seed=0, *, references=2, examples=6, population=40):
    rng = np.random.default_rng(seed)

    def model(shift):
        return {
            "forget": with_answers(rng, examples),
            "population": made_up(rng, population, shift=shift),
            "heldout": made_up(rng, 12),
            "retain": with_answers(rng, 5),
            "real_authors": with_answers(rng, 4),
            "world_facts": with_answers(rng, 4),
        }

    return Scores(model=model(0.4), base=model(0.8), references=[model(0.0) for _ in range(references)])


def rows(scores, values="logp_M"):
    """Values of target tokens as plain lists, one an example, cut by hand."""
    flat, found, start = getattr(scores, values).tolist(), [], 0
    for count in scores.num_targets_N.tolist():
        found.append(flat[start : start + count])
        start += count
    return found
