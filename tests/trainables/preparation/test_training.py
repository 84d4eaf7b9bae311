"""Training: repeatable, of the asked seed, and the same wherever it is cut off."""

import pytest

from tests.support import (
    VOCAB_SIZE,
    FakeClock,
    MemorySink,
    same_state,
    state_of,
    tiny_architecture,
    tiny_examples,
    tiny_tokenizer,
)
from trainables.config import ModelConfig, PreparationConfig
from trainables.encoding import encode
from trainables.errors import UnlearningError
from trainables.metrics import score_set
from trainables.models import new_model
from trainables.preparation import REPORTED_EVERY_S, Training, TrainingState, train_to_end
from trainables.preparation.training import train_steps

EXAMPLES = tiny_examples(16)
MODEL = ModelConfig(architecture=tiny_architecture(dropout=0.2), vocab_size=VOCAB_SIZE)
KEY = "model"


def new_training(seed=0, **recipe):
    preparation = PreparationConfig(
        **{"epochs": 4, "batch_size": 8, "learning_rate": 0.02, "warmup_steps": 2, **recipe}
    )
    return Training(
        model=MODEL,
        preparation=preparation,
        tokenizer=tiny_tokenizer(),
        examples=EXAMPLES,
        max_tokens=64,
        seed=seed,
        threads=1,
    )


def train(seed=0, **recipe):
    training = new_training(seed, **recipe)
    assert train_to_end(training, MemorySink(), KEY, every_s=1e9) is None
    return training.model


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


def test_cut_off_after_any_step_it_ends_in_the_same_weights():
    uninterrupted = state_of(train())
    for steps in range(1, 8):
        cut_off = new_training()
        while cut_off.step < steps:
            cut_off.advance()
        store = MemorySink()
        store.save_checkpoint(KEY, cut_off.pack())
        gone_on = new_training()
        gone_on.unpack(store.load_checkpoint(KEY))
        assert gone_on.step == steps
        assert train_to_end(gone_on, store, KEY, every_s=1e9) is None
        assert same_state(state_of(gone_on.model), uninterrupted)


def test_it_goes_on_from_the_checkpoint_and_not_from_the_start(monkeypatch):
    store, taken = MemorySink(), []
    half = new_training()
    while half.step < 4:
        half.advance()
    store.save_checkpoint(KEY, half.pack())
    real = Training.advance
    monkeypatch.setattr(Training, "advance", lambda self: (taken.append(self.step + 1), real(self)))
    train_to_end(new_training(), store, KEY, every_s=1e9)
    assert taken == [5, 6, 7, 8]


@pytest.mark.parametrize("damage", [lambda p: p[:-1], lambda p: p[:-1] + bytes([p[-1] ^ 1]), lambda _: b"noise"])
def test_a_damaged_checkpoint_starts_it_anew_with_a_warning(damage):
    store, half = MemorySink(), new_training()
    half.advance()
    store.save_checkpoint(KEY, damage(half.pack()))
    training = new_training()
    assert "damaged" in train_to_end(training, store, KEY, every_s=1e9)
    assert same_state(state_of(training.model), state_of(train()))


@pytest.mark.parametrize(("every_s", "saved"), [(0, 7), (20, 3), (1e9, 0)])
def test_checkpoints_come_every_so_many_seconds_and_none_of_the_end(every_s, saved):
    store = MemorySink()
    train_to_end(new_training(), store, KEY, every_s=every_s, clock=FakeClock(tick=10.0))
    assert len(store.calls) == saved


@pytest.mark.parametrize(
    ("tick", "told"), [(REPORTED_EVERY_S, [1, 2, 3, 4, 5, 6, 7]), (REPORTED_EVERY_S / 2, [2, 4, 6])]
)
def test_it_tells_how_far_it_is_but_not_all_the_time(tick, told):
    states = []
    training = new_training()
    train_to_end(training, MemorySink(), KEY, every_s=1e9, clock=FakeClock(tick=tick), report=states.append)
    assert [state.step for state in states] == told
    assert {(state.steps, state.epochs) for state in states} == {(8, 4)}
    assert [state.left_s for state in states] == [pytest.approx(tick * (8 - step)) for step in told]
    assert all(0 < state.loss < 10 for state in states)
    assert [state.epoch for state in states] == [step // 2 + 1 for step in told]
    assert all(TrainingState.decoded(state.encoded()) == state for state in states)
    assert TrainingState.decoded(b'{"step": "of another version"}') is None
