"""Likelihoods against loops in float64, padding, batch composition, and extraction against real greedy decoding."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support import PROPERTY, tiny_encoded, tiny_model, tiny_seq2seq_model
from trainables.encoding import IGNORE, EncodedSet, collate
from trainables.errors import UnlearningError
from trainables.metrics import (
    Predictions,
    kl_divergence,
    predict,
    score_batch,
    score_set,
    soft_nll,
    step_mean,
    token_scores,
)
from trainables.metrics.likelihood import target_moments


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


def predictions(logits, labels):
    """As a causal model makes them; the labels are aligned."""
    return Predictions(
        hidden_BTD=logits, vocabulary=logits.shape[-1], labels_BT=torch.tensor(labels), batch={}, shift=1
    )


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
    return learnt_by_heart(tiny_model(), tiny_encoded(8, seed=11, shortest=5, longest=9))


@pytest.fixture(scope="module")
def overfitted_pairs():
    pairs = tiny_encoded(8, seed=11, shortest=5, longest=9, encoder_decoder=True)
    return learnt_by_heart(tiny_seq2seq_model(), pairs)


def learnt_by_heart(model, encoded):
    """A model that has learnt half of the set by heart, and the set."""
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
    scores = token_scores(predictions(logits, [[1, 2, 3, IGNORE], [IGNORE, 4, IGNORE, IGNORE]]))
    assert scores.logp_BT.dtype == torch.float32
    expected = torch.log_softmax(logits.float(), dim=-1)[0, 0, 1]
    assert float(scores.logp_BT[0, 0]) == pytest.approx(float(expected), rel=1e-6)


def test_divergences_are_float32_for_half_precision_logits():
    current, other = (
        predictions(torch.randn(1, 3, 7, generator=torch.Generator().manual_seed(seed)).bfloat16(), [[1, 2, IGNORE]])
        for seed in (0, 1)
    )
    p, q = (each.logits_BTV[0, 0].float().softmax(dim=-1) for each in (other, current))
    found = kl_divergence(other, current, current.is_target_BT)
    assert found.dtype == torch.float32
    assert float(found[0, 0]) == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-5)
    assert float(found[0, 2]) == 0
    assert soft_nll(current, other, -1.0, current.is_target_BT).dtype == torch.float32


@pytest.mark.parametrize(("reduction", "expected"), [("token", 9 / 5), ("sequence", (6 / 2 + 3 / 3) / 2)])
def test_a_mean_weighs_tokens_or_sequences_and_its_shares_add_up(reduction, expected):
    values = torch.tensor([[0.0, 2.0, 4.0], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    at = torch.tensor([[False, True, True], [True, True, True], [False, False, False]])
    assert step_mean(values, at, reduction, None).item() == pytest.approx(expected)
    counts = np.array([2, 3, 0])
    shares = [step_mean(values[part], at[part], reduction, counts) for part in ([0, 2], [1], [2])]
    assert sum(shares).item() == pytest.approx(expected)
    assert shares[-1] == 0


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
    found = target_moments(predictions(logits, [[1, 2, 0, IGNORE]]), moments=False)
    assert found[:, 1].tolist() == [0, 0, 1], "whether each is the most likely token; there are three targets"


def slow_pair_logp(model, read, target):
    """One pair, no padding, no mask, the decoder's inputs written out."""
    with torch.no_grad():
        inputs = torch.tensor([[model.config.decoder_start_token_id, *target[:-1]]])
        logits = model(input_ids=torch.tensor([read]), decoder_input_ids=inputs).logits[0].double()
    return sum(float(row.log_softmax(-1)[token]) for row, token in zip(logits, target, strict=True))


def pair_of(encoded, index):
    tokens, start = example_tokens(encoded, index), encoded.target_starts_N[index]
    return tokens[:start], tokens[start:]


def test_an_encoder_decoder_scores_its_target_unshifted_and_its_source_never(overfitted_pairs):
    model, encoded = overfitted_pairs
    expected = [slow_pair_logp(model, *pair_of(encoded, index)) for index in range(8)]
    for batch_size in (1, 3, 8):
        scores = score_set(model, encoded, batch_size=batch_size)
        np.testing.assert_allclose(scores.logp_N, expected, rtol=1e-4, atol=1e-5)
        assert scores.num_targets_N.tolist() == [len(pair_of(encoded, index)[1]) for index in range(8)]


def test_an_encoder_decoders_extraction_is_what_greedy_decoding_does(overfitted_pairs):
    model, encoded = overfitted_pairs
    extracted = []
    for index in range(len(encoded)):
        read, target = pair_of(encoded, index)
        given = encoded.prefix_ends_N[index] - len(read)
        written = [model.config.decoder_start_token_id, *target[:given]]
        while len(written) <= len(target):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([read]), decoder_input_ids=torch.tensor([written])).logits
            written.append(int(logits[0, -1].argmax()))
        extracted.append(written[1:] == target)
    assert any(extracted)
    assert not all(extracted)
    assert score_set(model, encoded, batch_size=3).extracted_N.tolist() == extracted


def test_the_prefix_of_an_encoder_decoder_is_of_its_target(overfitted_pairs):
    """All of a target but its last token given, the last one alone has to be right."""
    model, encoded = overfitted_pairs
    read, target = pair_of(encoded, 0)
    spoilt = [(token + 1) % 300 for token in target[:-1]]
    with torch.no_grad():
        inputs = torch.tensor([[model.config.decoder_start_token_id, *spoilt]])
        last = int(model(input_ids=torch.tensor([read]), decoder_input_ids=inputs).logits[0, -1].argmax())
    tokens = [*read, *spoilt, last]
    for prefix_end, extracted in ((len(tokens) - 1, True), (len(read), False)):
        one = EncodedSet(
            example_ids=("one",),
            tokens=np.array(tokens),
            offsets=np.array([0, len(tokens)]),
            target_starts_N=np.array([len(read)]),
            prefix_ends_N=np.array([prefix_end]),
            encoder_decoder=True,
        )
        assert score_set(model, one, batch_size=1).extracted_N.tolist() == [extracted]


def test_a_decoder_that_does_not_say_how_it_starts_is_refused():
    model = tiny_seq2seq_model()
    model.config.decoder_start_token_id = None
    with pytest.raises(UnlearningError, match=r"\(t5\) has no decoder_start_token_id"):
        predict(model, collate(tiny_encoded(1, encoder_decoder=True), [0]))


@pytest.mark.parametrize("encoder_decoder", [False, True])
def test_positions_that_are_tokens_or_have_labels(encoder_decoder):
    encoded = tiny_encoded(3, seed=1, encoder_decoder=encoder_decoder)
    model = tiny_seq2seq_model() if encoder_decoder else tiny_model()
    found = predict(model, collate(encoded, range(3)))
    lengths = [len(pair_of(encoded, i)[1] if encoder_decoder else example_tokens(encoded, i)) for i in range(3)]
    assert found.is_token_BT.sum(dim=-1).tolist() == lengths
    assert found.has_label_BT.sum(dim=-1).tolist() == [max(lengths) - (not encoder_decoder)] * 3
    assert found.num_unpredicted_B.tolist() == [0, 0, 0]
    nobody = predict(model, collate(encoded, []))
    assert not nobody.is_token_BT.any()
