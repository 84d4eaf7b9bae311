"""The metrics of TOFU, of verbatim recall and of generated texts against the same in plain Python."""

import math
import statistics
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstwo

from tests.trainables.metrics.shipped.scores_of import all_scores, rows
from trainables.errors import UnlearningError
from trainables.metrics import Scores, SetScores, compute
from trainables.metrics.shipped.answers import utility_parts
from trainables.metrics.shipped.settings import ModelUtilitySettings

OPEN = {"compat": "open-unlearning"}


def mean_nll(own):
    return [-math.fsum(row) / len(row) for row in rows(own)]


def ratio_by_hand(own, *, geometric):
    right = mean_nll(own.paraphrase)
    wrong = list(zip(*(mean_nll(answer) for answer in own.perturbed), strict=True))
    if geometric:
        return [math.exp(-statistics.fmean(w)) / (math.exp(-r) + 1e-10) for r, w in zip(right, wrong, strict=True)]
    return [statistics.fmean(map(math.exp, (-x for x in w))) / math.exp(-r) for r, w in zip(right, wrong, strict=True)]


@pytest.mark.parametrize("compat", [{}, OPEN])
def test_the_truth_ratio_is_wrong_over_right(compat):
    scores = all_scores(seed=2)
    expected = ratio_by_hand(scores.model["forget"], geometric=bool(compat))
    found = compute("truth_ratio", scores, **compat)
    np.testing.assert_allclose(found["truth_ratio_N"], expected, rtol=1e-9)
    assert found["truth_ratio"] == pytest.approx(statistics.fmean(min(r, 1 / r) for r in expected), rel=1e-6)
    better = compute("truth_ratio", scores, aggregate="true_better", **compat)["truth_ratio"]
    assert better == pytest.approx(statistics.fmean(max(0, 1 - r) for r in expected), rel=1e-6)
    share = compute("truth_ratio", scores, aggregate="right_share", **compat)["truth_ratio"]
    assert share == pytest.approx(statistics.fmean(1 / (1 + r) for r in expected), rel=1e-6)


def test_a_right_answer_all_but_impossible_makes_a_ratio_that_is_large_and_finite():
    own = SetScores.of([[-900.0]], perturbed=(SetScores.of([[-1.0]]),))
    found = compute("truth_ratio", Scores(model={"forget": own}))
    assert math.isfinite(found["truth_ratio_N"][0])
    assert found["truth_ratio"] == pytest.approx(0, abs=1e-300)


def test_the_share_of_the_right_answer_is_a_number_where_both_underflow():
    own = SetScores.of([[-900.0], [-901.0]], perturbed=(SetScores.of([[-900.0], [-900.0]]),))
    found = compute("truth_ratio", Scores(model={"forget": own}), aggregate="right_share")["truth_ratio"]
    assert found == pytest.approx((0.5 + 1 / (1 + math.e)) / 2)


def test_probabilities_are_of_tokens_or_of_whole_answers():
    own = all_scores(seed=4).model["forget"]
    scores = Scores(model={"forget": own})
    plain = [math.exp(-nll) for nll in mean_nll(own)]
    np.testing.assert_allclose(compute("probability", scores)["probability_N"], plain, rtol=1e-12)
    answers = (own, *own.perturbed)
    whole = [[math.exp(math.fsum(row)) for row in rows(answer)] for answer in answers]
    expected = [column[0] / math.fsum(column) for column in zip(*whole, strict=True)]
    found = compute("probability_among_options", scores)["probability_among_options_N"]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    by_token = [[math.exp(-nll) for nll in mean_nll(answer)] for answer in answers]
    expected = [column[0] / (math.fsum(column) + 1e-10) for column in zip(*by_token, strict=True)]
    found = compute("probability_among_options", scores, **OPEN)["probability_among_options_N"]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_forget_quality_is_the_test_of_two_samples():
    scores = all_scores(seed=6, references=1, examples=30)
    own, other = (ratio_by_hand(model["forget"], geometric=False) for model in (scores.model, scores.references[0]))
    points = sorted([*own, *other])
    distance = max(abs(sum(x <= p for x in own) / 30 - sum(x <= p for x in other) / 30) for p in points)
    found = compute("forget_quality", scores)
    assert found["forget_quality_ks"] == pytest.approx(distance)
    assert found["forget_quality"] == pytest.approx(kstwo.sf(distance, 15), abs=0.1), "the limit, roughly"
    same = Scores(model=scores.model, references=[scores.model])
    assert compute("forget_quality", same) == {"forget_quality": 1.0, "forget_quality_ks": 0.0}
    assert compute("forget_quality", Scores(model=scores.model))["forget_quality"] is None


def test_model_utility_is_a_harmonic_mean_of_nine():
    scores = all_scores(seed=8)
    parts = utility_parts(scores.model, ModelUtilitySettings(), None)
    assert len(parts) == 9
    assert parts["retain.probability"] == pytest.approx(
        statistics.fmean(math.exp(-nll) for nll in mean_nll(scores.model["retain"]))
    )
    expected = 0.0 if 0 in parts.values() else 9 / sum(1 / part for part in parts.values())
    assert compute("model_utility", scores)["model_utility"] == pytest.approx(expected)
    one = compute("model_utility", scores, kept=["retain"])["model_utility"]
    assert one == pytest.approx(statistics.harmonic_mean([v for k, v in parts.items() if k.startswith("retain")]))


tops = st.lists(st.lists(st.booleans(), min_size=1, max_size=8), min_size=1, max_size=6)


def of_tops(given_tops):
    own = SetScores.of([[-1.0] * len(row) for row in given_tops], is_top_M=given_tops)
    return Scores(model={"forget": own})


def strength(row):
    return max(1 - k / len(row) for k in range(len(row) + 1) if all(row[k:]))


def test_flags_may_be_zeros_and_ones_and_nothing_else():
    given_tops = [[1, 0, 1], [0, 1]]
    assert compute("extraction_strength", of_tops(given_tops))["extraction_strength_N"].tolist() == [
        strength(row) for row in given_tops
    ]
    for wrong in (2, -1, math.nan, "yes"):
        with pytest.raises(
            UnlearningError, match=r"SetScores\.of: is_top_M has .*; each of its values is true or false"
        ):
            of_tops([[1, wrong]])


@given(tops)
def test_verbatim_recall_is_what_its_definition_says(given_tops):
    scores = of_tops(given_tops)
    assert compute("extraction_strength", scores)["extraction_strength_N"].tolist() == [strength(r) for r in given_tops]
    memorized = compute("exact_memorization", scores)["exact_memorization_N"].tolist()
    assert memorized == [sum(row) / len(row) for row in given_tops]
    theirs = compute("extraction_strength", scores, **OPEN)["extraction_strength_N"]
    for row, found in zip(given_tops, theirs.tolist(), strict=True):
        shorter = row[:-1]
        expected = max(strength(shorter), 1 / len(shorter)) if shorter else 0.0
        assert found == pytest.approx(expected)
    theirs = compute("exact_memorization", scores, **OPEN)
    long = [row[:-1] for row in given_tops if len(row) > 1]
    expected = statistics.fmean(sum(row) / len(row) for row in long) if long else None
    assert theirs["exact_memorization"] == (pytest.approx(expected) if long else None)


def common(a, b):
    """The length of the longest common subsequence."""
    table = [0] * (len(b) + 1)
    for x in a:
        new = [0]
        for place, (y, (before, after)) in enumerate(zip(b, pairwise(table), strict=True)):
            new.append(before + 1 if x == y else max(after, new[place]))
        table = new
    return table[-1]


def test_rouge_is_of_words_and_of_their_longest_common_subsequence():
    truths = ("the cat sat on the mat", "one two three", "abc")
    texts = ("the mat sat on a cat", "three two one two", "")
    own = SetScores.of([[-1.0]] * 3, truths=truths, generations=texts)
    found = compute("rouge", Scores(model={"forget": own}))
    pairs = [(truth.split(), text.split()) for truth, text in zip(truths, texts, strict=True)]
    recalls = [common(truth, text) / len(truth) for truth, text in pairs]
    assert found["rouge_l_recall_N"].tolist() == pytest.approx(recalls)
    precisions = [common(truth, text) / max(len(text), 1) for truth, text in pairs]
    f1 = [2 * p * r / (p + r) if p + r else 0 for p, r in zip(precisions, recalls, strict=True)]
    assert found["rouge_l_f1_N"].tolist() == pytest.approx(f1)
    words = [sum(min(truth.count(w), text.count(w)) for w in set(truth)) / len(truth) for truth, text in pairs]
    assert found["rouge_1_recall_N"].tolist() == pytest.approx(words)
    assert found["rouge_l_recall"] == pytest.approx(statistics.fmean(recalls))


def test_sampled_leakage_is_the_closest_of_the_samples():
    own = SetScores.of(
        [[-1.0]] * 2, truths=("a b c d", "x y"), samples=(("a b q", "a b c d e"), ("q", "y x")), texts=("", "")
    )
    found = compute("sampled_leakage", Scores(model={"forget": own}))
    assert found["sampled_leakage_N"].tolist() == [1.0, 0.5]
    assert (found["sampled_leakage"], found["sampled_extraction"]) == (0.75, 0.5)
