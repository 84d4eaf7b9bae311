"""Likelihoods against loops in float64, padding, batch composition, and extraction against real greedy decoding."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support import PROPERTY, tiny_encoded, tiny_model
from trainables.batching import IGNORE, EncodedSet, collate
from trainables.likelihood import greedy_misses, score_batch, score_set, token_scores


def example_tokens(encoded, index):
    return [int(t) for t in encoded.tokens[encoded.offsets[index] : encoded.offsets[index + 1]]]


def slow_logp(model, tokens, target_start):
    """One example, no padding, no mask: the sum of log-softmax over the target, in float64 Python."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens])).logits[0].tolist()
    total = 0.0
    for position in range(target_start, len(tokens)):
        row = logits[position - 1]
        highest = max(row)
        total += row[tokens[position]] - highest - math.log(sum(math.exp(v - highest) for v in row))
    return total


def greedy_continuation(model, tokens, count):
    tokens = list(tokens)
    for _ in range(count):
        with torch.no_grad():
            tokens.append(int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens


@pytest.fixture(scope="module")
def model():
    return tiny_model().eval()


@pytest.fixture(scope="module")
def overfitted():
    """A model that has learnt half of the set by heart, and the set."""
    model, encoded = tiny_model(), tiny_encoded(8, seed=11, shortest=5, longest=9)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    batch = collate(encoded, range(4))
    for _ in range(150):
        optimizer.zero_grad()
        score_batch(model, batch).nll_per_token().backward()
        optimizer.step()
    return model.eval(), encoded


def test_score_set_equals_slow_computation_in_set_order(model):
    encoded = tiny_encoded(9, seed=3)
    scores = score_set(model, encoded, batch_size=4)
    expected = [slow_logp(model, example_tokens(encoded, i), encoded.target_starts_N[i]) for i in range(9)]
    np.testing.assert_allclose(scores.logp_N, expected, rtol=1e-5)
    lengths = [len(example_tokens(encoded, i)) - encoded.target_starts_N[i] for i in range(9)]
    assert scores.num_targets_N.tolist() == lengths
    np.testing.assert_allclose(scores.nll_per_token_N, -np.array(expected) / lengths, rtol=1e-5)
    assert scores.nll_per_token == pytest.approx(-sum(expected) / sum(lengths), rel=1e-5)


def test_token_scores_are_zero_off_the_target_and_counted_on_it(model):
    encoded = tiny_encoded(5, seed=4)
    scores = score_batch(model, collate(encoded, range(5)))
    assert scores.num_targets_B.tolist() == encoded.num_targets_N.tolist()
    for row in range(5):
        on_target = np.zeros(scores.logp_BT.shape[1], dtype=bool)
        on_target[encoded.target_starts_N[row] - 1 : len(example_tokens(encoded, row)) - 1] = True
        assert scores.is_target_BT[row].numpy().tolist() == on_target.tolist()
        assert (scores.logp_BT[row].detach().numpy()[~on_target] == 0).all()
        assert (scores.logp_BT[row].detach().numpy()[on_target] < 0).all()


def test_token_scores_are_float32_for_half_precision_logits():
    logits = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(0)).bfloat16()
    scores = token_scores(logits, torch.tensor([[IGNORE, 1, 2, 3], [IGNORE, IGNORE, 4, IGNORE]]))
    assert scores.logp_BT.dtype == torch.float32
    expected = torch.log_softmax(logits.float(), dim=-1)[0, 0, 1]
    assert float(scores.logp_BT[0, 0]) == pytest.approx(float(expected), rel=1e-6)


def test_nll_per_token_with_a_total_adds_up_over_parts(model):
    encoded = tiny_encoded(6, seed=5)
    total = int(encoded.num_targets_N.sum())
    whole = score_batch(model, collate(encoded, range(6))).nll_per_token()
    parts = [score_batch(model, collate(encoded, part)).nll_per_token(total) for part in ([0], [1, 2, 3], [4, 5])]
    assert sum(parts).item() == pytest.approx(whole.item(), rel=1e-5)


@PROPERTY
@given(padding=st.integers(1, 20), padding_token=st.integers(0, 299), index=st.integers(0, 5))
def test_padding_changes_nothing_whatever_token_it_is(model, padding, padding_token, index):
    batch = collate(tiny_encoded(6, seed=6), [index])
    padded = {
        "input_ids": torch.nn.functional.pad(batch["input_ids"], (0, padding), value=padding_token),
        "attention_mask": torch.nn.functional.pad(batch["attention_mask"], (0, padding), value=0),
        "labels": torch.nn.functional.pad(batch["labels"], (0, padding), value=IGNORE),
    }
    with torch.no_grad():
        left, right = score_batch(model, batch), score_batch(model, padded)
    torch.testing.assert_close(left.logp_B, right.logp_B, rtol=1e-5, atol=1e-5)
    assert left.num_targets_B.tolist() == right.num_targets_B.tolist()
    torch.testing.assert_close(left.nll_per_token(), right.nll_per_token(), rtol=1e-5, atol=1e-6)


@PROPERTY
@given(order=st.permutations(range(7)), batch_size=st.integers(1, 8))
def test_an_example_scores_the_same_in_any_company(overfitted, order, batch_size):
    model, encoded = overfitted
    alone = score_set(model, encoded, batch_size=1)
    together = score_set(model, encoded.select(order), batch_size=batch_size)
    np.testing.assert_allclose(together.logp_N, alone.logp_N[list(order)], rtol=1e-4, atol=1e-5)
    assert together.extracted_N.tolist() == alone.extracted_N[list(order)].tolist()


def test_extraction_is_what_greedy_decoding_does(overfitted):
    model, encoded = overfitted
    extracted = []
    for index in range(len(encoded)):
        tokens = example_tokens(encoded, index)
        prefix = tokens[: encoded.prefix_ends_N[index]]
        extracted.append(greedy_continuation(model, prefix, len(tokens) - len(prefix)) == tokens)
    assert any(extracted)
    assert not all(extracted)
    assert score_set(model, encoded, batch_size=3).extracted_N.tolist() == extracted


@pytest.mark.parametrize(("prefix_end", "extracted"), [(1, False), (2, False), (3, True), (5, True)])
def test_the_first_token_after_the_prefix_is_asked_for_and_the_prefix_is_not(model, prefix_end, extracted):
    likely = greedy_continuation(model, [7], 2)
    unlikely = (likely[2] + 1) % 300
    tokens = greedy_continuation(model, [*likely[:2], unlikely], 4)  # greedy but for the token at position 2
    encoded = EncodedSet(
        example_ids=("one",),
        tokens=np.array(tokens),
        offsets=np.array([0, len(tokens)]),
        target_starts_N=np.array([1]),
        prefix_ends_N=np.array([prefix_end]),
    )
    assert score_set(model, encoded, batch_size=1).extracted_N.tolist() == [extracted]


def test_extraction_asks_for_nothing_before_the_end_of_the_prefix():
    logits = torch.zeros(1, 4, 5)
    labels = torch.tensor([[IGNORE, 1, 2, 0]])
    assert greedy_misses(logits, labels).tolist() == [[True, True, False, False]]
