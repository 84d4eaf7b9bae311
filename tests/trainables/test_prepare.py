"""Preparation: repeatable, of the asked seed, blind to the forget set where it must be."""

import math

import numpy as np
import pytest

from tests.support import (
    VOCAB_SIZE,
    same_state,
    state_of,
    tiny_architecture,
    tiny_encoded,
    tiny_examples,
    tiny_model,
    tiny_tokenizer,
)
from trainables.batching import encode
from trainables.config import DataConfig, EvaluationConfig, ModelConfig, PreparationConfig
from trainables.corpora import Example
from trainables.errors import UnlearningError
from trainables.forget_sets import Datasets, ForgetSet
from trainables.likelihood import score_set
from trainables.models import load_tokenizer, new_model, save_model
from trainables.prepare import encode_all, evaluation_sets, prepare_tokenizer, train_model, train_steps

EXAMPLES = tiny_examples(16)
MODEL = ModelConfig(architecture=tiny_architecture(dropout=0.2), vocab_size=VOCAB_SIZE)


def train(seed=0, examples=EXAMPLES, **recipe):
    preparation = PreparationConfig(
        **{"epochs": 4, "batch_size": 8, "learning_rate": 0.02, "warmup_steps": 2, **recipe}
    )
    return train_model(
        model=MODEL,
        preparation=preparation,
        tokenizer=tiny_tokenizer(),
        examples=examples,
        max_tokens=64,
        seed=seed,
        threads=1,
    )


def datasets():
    def named(label, count):
        return tuple(Example(example_id=f"{label}-{i}", prompt="", completion=f" {label} {i}") for i in range(count))

    forget_set = ForgetSet(
        name="set",
        distribution="in",
        forget=(Example(example_id="secret", prompt="", completion=" zqzq" * 8),),
        population=named("population", 3),
        distractors=(),
        repetitions=50,
    )
    return Datasets(retain=named("retain", 9), heldout=named("heldout", 4), forget_sets={"set": forget_set})


def test_training_repeats_itself_bit_for_bit_dropout_included():
    assert same_state(state_of(train()), state_of(train()))


def test_training_follows_the_seed():
    assert not same_state(state_of(train(seed=0)), state_of(train(seed=1)))


def test_training_learns():
    encoded = encode(tiny_tokenizer(), EXAMPLES, max_tokens=64)
    before = score_set(new_model(MODEL, tokenizer=tiny_tokenizer(), seed=0).eval(), encoded, batch_size=16)
    after = score_set(train(epochs=10).eval(), encoded, batch_size=16)
    assert after.nll_per_token < before.nll_per_token - 1


def test_warm_up_is_in_steps():
    assert not same_state(state_of(train(warmup_steps=0)), state_of(train(warmup_steps=100)))


@pytest.mark.parametrize(("examples", "steps"), [(5, 3), (8, 3), (15, 3), (16, 6)])
def test_train_steps_are_whole_batches_of_every_epoch(examples, steps):
    assert train_steps(examples, PreparationConfig(epochs=3, batch_size=8, learning_rate=1)) == steps


def test_a_recipe_that_explodes_says_what_to_lower():
    with pytest.raises(
        UnlearningError, match=r"the loss became \w+ at step \d+; lower preparation.learning_rate \(now"
    ):
        train(learning_rate=1e6, weight_decay=1e9, epochs=50, warmup_steps=0)


def test_the_forget_set_leaves_no_trace_in_the_tokenizer():
    tokenizer = prepare_tokenizer(ModelConfig(architecture=tiny_architecture(), vocab_size=320), datasets())
    assert not [entry for entry in tokenizer.get_vocab() if "zq" in entry]
    assert [entry for entry in tokenizer.get_vocab() if "ret" in entry]


def test_a_pretrained_model_keeps_its_tokenizer(tmp_path):
    save_model(tiny_model(), tiny_tokenizer(), tmp_path)
    config = ModelConfig(pretrained=str(tmp_path))
    assert prepare_tokenizer(config, datasets()).get_vocab() == load_tokenizer(config).get_vocab()


def test_encode_all_encodes_each_set_under_its_name():
    data = DataConfig(
        retain=9,
        retain_evaluation=2,
        heldout=4,
        forget_sets={"set": {"distribution": "in", "size": 1, "population": 3}},
    )
    encoded = encode_all(tiny_tokenizer(), datasets(), data, EvaluationConfig(extraction_prefix=0.0))["set"]
    assert {name: list(s.example_ids) for name, s in encoded.items()} == {
        "forget": ["secret"],
        "population": [f"population-{i}" for i in range(3)],
        "heldout": [f"heldout-{i}" for i in range(4)],
        "retain": ["retain-0", "retain-1"],
    }
    assert (encoded["forget"].prefix_ends_N == encoded["forget"].target_starts_N).all()


@pytest.mark.parametrize("references", [0, 1, 2])
def test_evaluation_sets_measure_base_and_references(references):
    encoded = {name: tiny_encoded(4, seed=i) for i, name in enumerate(("forget", "population", "heldout", "retain"))}
    base, others = tiny_model().eval(), [tiny_model(seed=s + 1).eval() for s in range(references)]
    sets = evaluation_sets(encoded, base=base, references=others, batch_size=4, max_increase=2.5)
    np.testing.assert_array_equal(sets.base_logp_N, score_set(base, encoded["forget"], batch_size=4).logp_N)
    assert sets.reference_logp_SN.shape == (references, 4)
    for row, model in zip(sets.reference_logp_SN, others, strict=True):
        np.testing.assert_array_equal(row, score_set(model, encoded["forget"], batch_size=4).logp_N)
    heldout_nll = score_set(base, encoded["heldout"], batch_size=4).nll_per_token
    assert math.isclose(sets.max_heldout_nll, heldout_nll + 2.5)
