"""The tail of exposure against the same by hand."""

import math

import pytest

from tests.trainables.metrics.shipped.scores_of import all_scores
from trainables.metrics import compute


def percentile(values, share):
    values = sorted(values)
    place = share * (len(values) - 1)
    low = math.floor(place)
    return values[low] + (place - low) * (values[min(low + 1, len(values) - 1)] - values[low])


def test_the_tail_is_of_the_most_exposed_examples():
    scores = all_scores(seed=1, examples=25)
    forget, population = scores.model["forget"], scores.model["population"]
    references = [[math.exp(x) for x in reference["forget"].logp_N] for reference in scores.references]
    bits = [
        (own - math.log(sum(column) / len(column))) / math.log(2)
        for own, *column in zip(forget.logp_N.tolist(), *references, strict=True)
    ]
    found = compute("exposure_tail", scores, threshold=1.0, relative_threshold=2.0)
    assert found["gen_ex_max"] == pytest.approx(max(bits))
    assert found["gen_ex_p95"] == pytest.approx(percentile(bits, 0.95))
    assert found["exposed_share"] == sum(x > 1.0 for x in bits) / 25
    ranks = [1 + sum(other < own for other in population.nll_per_token_N) for own in forget.nll_per_token_N]
    relative = [math.log2(40 / rank) for rank in ranks]
    assert found["rel_ex_max"] == pytest.approx(max(relative))
    assert found["rel_ex_p95"] == pytest.approx(percentile(relative, 0.95))
    assert found["rel_ex_exposed_share"] == sum(x > 2.0 for x in relative) / 25


@pytest.mark.parametrize(("population", "threshold"), [(16, 4.0), (19, 4.32), (2, 1.0), (1, 0.0)])
def test_a_population_in_which_no_example_can_be_exposed_has_no_share_that_is(population, threshold):
    scores = all_scores(population=population)
    found = compute("exposure_tail", scores, relative_threshold=threshold)
    assert found["rel_ex_exposed_share"] is None
    assert found["rel_ex_max"] <= threshold
    more = compute("exposure_tail", all_scores(population=population + 1), relative_threshold=threshold)
    assert more["rel_ex_exposed_share"] is not None


def test_without_references_the_tail_is_of_relative_exposure():
    found = compute("exposure_tail", all_scores(references=0))
    assert found["gen_ex_max"] is found["gen_ex_p95"] is found["exposed_share"] is None
    assert found["rel_ex_max"] is not None
