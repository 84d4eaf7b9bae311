"""Membership attacks against the same in plain Python, and what the field's conventions make of them."""

import math
import statistics
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainables.metrics.shipped.scores_of import all_scores, rows
from trainables.metrics import Scores, SetScores, compute
from trainables.metrics.shipped.membership import true_positive_rate

K, K_COMPAT = 0.2, 0.4


def auc_by_pairs(members, others):
    wins = sum((m < o) + (m == o) / 2 for m in members for o in others)
    return wins / (len(members) * len(others))


def tpr_by_thresholds(members, others, allowed):
    best = 0.0
    for threshold in [-math.inf, *members, *others]:
        if sum(o <= threshold for o in others) / len(others) <= allowed:
            best = max(best, sum(m <= threshold for m in members) / len(members))
    return best


def nll(row):
    return -math.fsum(row) / len(row)


def lowest(values, k):
    count = max(1, math.floor(k * len(values) + 1e-12))
    return -statistics.fmean(sorted(values)[:count])


def by_hand(name, own, references=()):
    """The attack's score of each example, one at a time."""
    tokens = rows(own)
    match name:
        case "mia_loss":
            return [nll(row) for row in tokens]
        case "mia_zlib":
            return [nll(row) / len(zlib.compress(text.encode())) for row, text in zip(tokens, own.texts, strict=True)]
        case "mia_min_k":
            return [lowest(row, K) for row in tokens]
        case "mia_min_k_plus_plus":
            means, variances = rows(own, "mean_logp_M"), rows(own, "variance_logp_M")
            return [
                lowest([(x - m) / math.sqrt(max(v, 1e-6)) for x, m, v in zip(row, mean, variance, strict=True)], K)
                for row, mean, variance in zip(tokens, means, variances, strict=True)
            ]
        case "mia_gradient_norm":
            return [math.sqrt(math.fsum(x * x for x in norms)) for norms in own.gradient_norms_NP.tolist()]
        case "mia_reference":
            known = [[nll(row) for row in rows(reference)] for reference in references]
            return [nll(row) - statistics.fmean(column) for row, *column in zip(tokens, *known, strict=True)]


ATTACKS = ("mia_loss", "mia_zlib", "mia_min_k", "mia_min_k_plus_plus", "mia_gradient_norm", "mia_reference")


@pytest.mark.parametrize("nonmembers", ["population", "heldout"])
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_what_its_paper_says(name, nonmembers):
    scores = all_scores(seed=3)
    found = compute(name, scores, nonmembers=nonmembers, false_positives=0.1)
    members, others = (
        by_hand(name, scores.model[own], [reference[own] for reference in scores.references])
        for own in ("forget", nonmembers)
    )
    np.testing.assert_allclose(found[f"{name}_N"], members, rtol=1e-12)
    assert found[f"{name}_auc"] == pytest.approx(auc_by_pairs(members, others), abs=1e-12)
    assert found[f"{name}_tpr"] == tpr_by_thresholds(members, others, 0.1)


numbers = st.lists(st.integers(0, 5), min_size=1, max_size=12)


@given(members=numbers, others=numbers, allowed=st.floats(0.001, 0.999))
def test_the_true_positive_rate_is_the_best_of_all_thresholds(members, others, allowed):
    found = true_positive_rate(np.array(members, float), np.array(others, float), allowed)
    assert found == pytest.approx(tpr_by_thresholds(members, others, allowed + 1e-12))


def test_a_forget_set_plainly_remembered_has_an_area_of_one():
    known, unknown = SetScores.of([[-0.1, -0.2]] * 4), SetScores.of([[-3.0, -4.0]] * 5)
    scores = Scores(model={"forget": known, "population": unknown})
    assert compute("mia_loss", scores)["mia_loss_auc"] == compute("mia_loss", scores)["mia_loss_tpr"] == 1.0
    assert compute("mia_min_k", scores)["mia_min_k_auc"] == 1.0


def test_privleak_is_relative_to_the_references_and_negative_where_more_is_recognized():
    scores = all_scores(seed=5)
    areas = [
        auc_by_pairs(*([lowest(row, K_COMPAT) for row in rows(model[name])] for name in ("forget", "population")))
        for model in (scores.model, *scores.references)
    ]
    expected = statistics.fmean(1 - area for area in areas[1:])
    assert compute("privleak", scores)["privleak"] == pytest.approx(100 * (1 - areas[0] - expected) / expected)
    remembered = Scores(
        model={"forget": SetScores.of([[-0.1]] * 3), "population": SetScores.of([[-3.0]] * 3)},
        references=[{"forget": SetScores.of([[-3.0]] * 3), "population": SetScores.of([[-3.0]] * 3)}],
    )
    assert compute("privleak", remembered)["privleak"] == -100


def test_without_references_nothing_is_compared_with_them():
    scores = all_scores(references=0)
    assert compute("privleak", scores) == {"privleak": None}
    found = compute("mia_reference", scores)
    assert (found["mia_reference_auc"], found["mia_reference_tpr"]) == (None, None)
    assert np.isnan(found["mia_reference_N"]).all()
    members, others = (
        [lowest(row[:-1], K_COMPAT) for row in rows(scores.model[name])] for name in ("forget", "population")
    )
    found = compute("privleak", scores, compat="open-unlearning")["privleak"]
    assert found == pytest.approx(200 * (0.5 - auc_by_pairs(members, others))), "it takes 0.5 then"


class TestOpenUnlearning:
    """The conventions of that project, by hand."""

    def test_min_k_leaves_out_the_last_target_and_cuts_the_product_off(self):
        own = SetScores.of([np.linspace(-10, -1, 101), [-1.0], [-4.0, -2.0, -9.0]])
        scores = Scores(model={"forget": own, "population": own})
        found = compute("mia_min_k", scores, compat="open-unlearning", k=0.29)["mia_min_k_N"]
        assert int(0.29 * 100) == 28
        hundred = np.linspace(-10, -1, 101)[:-1]
        np.testing.assert_allclose(found, [-hundred[:28].mean(), 0.0, 4.0], rtol=1e-12)
        ours = compute("mia_min_k", scores, k=0.29)["mia_min_k_N"]
        assert ours[0] == pytest.approx(-np.linspace(-10, -1, 101)[:29].mean())

    @pytest.mark.parametrize("name", ["mia_min_k", "mia_min_k_plus_plus", "privleak"])
    def test_the_share_of_tokens_is_that_of_its_configurations_unless_one_is_given(self, name):
        scores = all_scores()
        values = {
            k: compute(name, scores, "open-unlearning", **({} if k is None else {"k": k})) for k in (None, 0.2, 0.4)
        }
        np.testing.assert_equal(values[None], values[0.4])
        assert str(values[None]) != str(values[0.2])

    def test_the_gradient_norm_is_the_mean_of_the_tensors_own(self):
        scores = all_scores()
        found = compute("mia_gradient_norm", scores, compat="open-unlearning")["mia_gradient_norm_N"]
        np.testing.assert_allclose(found, [sum(row) / 3 for row in scores.model["forget"].gradient_norms_NP.tolist()])

    def test_a_reference_area_of_one_divides_by_little(self):
        known, unknown = SetScores.of([[-0.1, -1.0]] * 3), SetScores.of([[-3.0, -1.0]] * 3)
        scores = Scores(
            model={"forget": unknown, "population": unknown}, references=[{"forget": known, "population": unknown}]
        )
        assert compute("privleak", scores, compat="open-unlearning")["privleak"] == pytest.approx(5e11)
        assert compute("privleak", scores)["privleak"] is None
