"""Encoding, padding, and which examples each step sees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import PROPERTY, tiny_encoded, tiny_examples, tiny_tokenizer
from trainables.data import Example
from trainables.encoding import IGNORE, BatchOrder, batches_by_length, collate, encode
from trainables.errors import UnlearningError


class NoBos:
    bos_token_id = None

    def encode(self, text, add_special_tokens):
        return tiny_tokenizer().encode(text, add_special_tokens=add_special_tokens)


def tokens_of(encoded, index):
    return encoded.tokens[encoded.offsets[index] : encoded.offsets[index + 1]].tolist()


def test_encoding_is_bos_prompt_completion():
    tokenizer, examples = tiny_tokenizer(), tiny_examples(5, prompts=True)
    encoded = encode(tokenizer, examples, max_tokens=100)
    for index, example in enumerate(examples):
        prompt = tokenizer.encode(example.prompt, add_special_tokens=False)
        completion = tokenizer.encode(example.completion, add_special_tokens=False)
        assert tokens_of(encoded, index) == [tokenizer.bos_token_id, *prompt, *completion]
        assert encoded.target_starts_N[index] == encoded.prefix_ends_N[index] == 1 + len(prompt)
        assert encoded.num_targets_N[index] == len(completion)
    assert encoded.example_ids == tuple(example.example_id for example in examples)


def test_without_a_prompt_a_share_of_the_target_is_the_prefix():
    encoded = encode(tiny_tokenizer(), tiny_examples(5), max_tokens=100, extraction_prefix=0.25)
    assert (encoded.target_starts_N == 1).all()
    assert encoded.prefix_ends_N.tolist() == [1 + count // 4 for count in encoded.num_targets_N.tolist()]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_extraction_always_has_something_to_produce(share):
    examples = [*tiny_examples(5), Example(example_id="short", prompt="", completion="a")]
    encoded = encode(tiny_tokenizer(), examples, max_tokens=100, extraction_prefix=share)
    assert (encoded.prefix_ends_N < np.diff(encoded.offsets)).all()


def test_too_long_is_refused_naming_the_example_and_the_limit():
    with pytest.raises(UnlearningError, match=r"example 'long': \d+ tokens, above data.max_tokens = 5"):
        encode(tiny_tokenizer(), [Example(example_id="long", prompt="", completion="a b c d e f g")], max_tokens=5)


def test_exactly_the_limit_is_accepted():
    length = len(tokens_of(encode(tiny_tokenizer(), tiny_examples(1), max_tokens=100), 0))
    assert len(encode(tiny_tokenizer(), tiny_examples(1), max_tokens=length)) == 1
    with pytest.raises(UnlearningError):
        encode(tiny_tokenizer(), tiny_examples(1), max_tokens=length - 1)


def test_nothing_to_score_is_refused():
    with pytest.raises(UnlearningError, match="example 'void': there is nothing to score"):
        encode(tiny_tokenizer(), [Example(example_id="void", prompt="abc", completion="")], max_tokens=9)
    with pytest.raises(UnlearningError, match="nothing to predict its first token from"):
        encode(NoBos(), [Example(example_id="no-bos", prompt="", completion="abc")], max_tokens=9)
    assert len(encode(NoBos(), [Example(example_id="ok", prompt="a", completion="b")], max_tokens=9)) == 1


def test_collate_labels_the_target_and_nothing_else():
    encoded = tiny_encoded(6, seed=1)
    batch = collate(encoded, [4, 0, 2])
    longest = max(len(tokens_of(encoded, i)) for i in (4, 0, 2))
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape == (3, longest)
    for row, index in enumerate((4, 0, 2)):
        tokens, start = tokens_of(encoded, index), int(encoded.target_starts_N[index])
        padding = longest - len(tokens)
        assert batch["input_ids"][row, : len(tokens)].tolist() == tokens
        assert batch["attention_mask"][row].tolist() == [1] * len(tokens) + [0] * padding
        assert batch["labels"][row].tolist() == [IGNORE] * start + tokens[start:] + [IGNORE] * padding


def test_collate_leaves_the_shared_arrays_alone():
    encoded = tiny_encoded(3)
    before = encoded.tokens.copy()
    encoded.tokens.flags.writeable = False  # as Ray's object store gives them
    collate(encoded, [0, 1, 2])["input_ids"].add_(1)
    assert (encoded.tokens == before).all()


def test_select_keeps_the_order_asked_for():
    encoded = tiny_encoded(6, seed=2)
    chosen = encoded.select([5, 1, 1])
    assert chosen.example_ids == ("example-5", "example-1", "example-1")
    for place, index in enumerate((5, 1, 1)):
        assert tokens_of(chosen, place) == tokens_of(encoded, index)
        assert chosen.target_starts_N[place] == encoded.target_starts_N[index]
        assert chosen.prefix_ends_N[place] == encoded.prefix_ends_N[index]


@PROPERTY
@given(count=st.integers(1, 20), batch_size=st.integers(1, 25))
def test_batches_by_length_give_every_example_once(count, batch_size):
    encoded = tiny_encoded(count, seed=count)
    batches = list(batches_by_length(encoded, batch_size))
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    assert all(len(batch) <= batch_size for batch in batches)
    lengths = np.diff(encoded.offsets)[np.concatenate(batches)]
    assert (np.diff(lengths) >= 0).all()


@PROPERTY
@given(
    num_examples=st.integers(1, 30), batch_size=st.integers(1, 40), seed=st.integers(0, 2**62), epoch=st.integers(0, 3)
)
def test_no_example_comes_twice_in_an_epoch_and_at_most_a_ragged_end_is_missing(num_examples, batch_size, seed, epoch):
    order = BatchOrder(num_examples=num_examples, batch_size=batch_size, seed=seed)
    size = min(batch_size, num_examples)
    per_epoch = num_examples // size
    seen = [i for step in range(epoch * per_epoch, (epoch + 1) * per_epoch) for i in order.indices(step + 1).tolist()]
    assert len(seen) == len(set(seen)) == per_epoch * size
    assert num_examples - len(seen) < size
    assert set(seen) <= set(range(num_examples))


def test_the_batch_of_a_step_depends_on_seed_and_step_only():
    def new():
        return BatchOrder(num_examples=12, batch_size=3, seed=5)

    forwards = [new().indices(step).tolist() for step in range(1, 10)]
    order = new()
    backwards = [order.indices(step).tolist() for step in reversed(range(1, 10))]
    assert forwards == backwards[::-1]
    assert forwards != [BatchOrder(num_examples=12, batch_size=3, seed=6).indices(s).tolist() for s in range(1, 10)]


def test_every_epoch_is_another_permutation():
    order = BatchOrder(num_examples=20, batch_size=20, seed=0)
    assert order.indices(1).tolist() != order.indices(2).tolist()
