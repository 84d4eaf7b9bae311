"""A streamed set gives the same numbers as one in memory, and never holds more than a batch."""

import pickle
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from tests.support import (
    VOCAB_SIZE,
    MemorySink,
    deterministic,
    run_to_end,
    same_state,
    state_of,
    tiny_architecture,
    tiny_tokenizer,
    tiny_trial,
    tiny_workload,
)
from tests.trainables.files import own_cache, pairs, write_rows
from trainables.config import ModelConfig, PreparationConfig, SourceConfig
from trainables.data import Example, identity
from trainables.data.examples import ConcatenatedExamples, concatenate
from trainables.data.sources import SourceExamples, open_source
from trainables.encoding import EncodedSet, StreamedSet, encode, encode_or_stream, streaming
from trainables.errors import UnlearningError
from trainables.preparation import Training, train_to_end
from trainables.trial import Engine
from trainables.trial.memory import heaviest

assert own_cache  # a fixture
pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def stored(tmp_path):
    return open_source(SourceConfig(path=str(write_rows(tmp_path / "retain.jsonl", pairs(40)))), where="data")


def same(left, right):
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in EncodedSet.__dataclass_fields__)


def test_what_is_selected_is_what_a_set_in_memory_gives(stored):
    streamed = encode_or_stream(tiny_tokenizer(), stored, max_tokens=64)
    whole = encode_or_stream(tiny_tokenizer(), list(stored), max_tokens=64)
    assert isinstance(streamed, StreamedSet)
    assert isinstance(whole, EncodedSet)
    assert (len(streamed), streamed.longest) == (len(whole), whole.longest)
    assert same(streamed.select([39, 3, 3]), whole.select([39, 3, 3]))
    assert same(pickle.loads(pickle.dumps(streamed)).select([1]), whole.select([1]))


def test_too_long_an_example_is_found_before_training_and_named_by_its_line(tmp_path):
    rows = pairs(30)
    rows[20]["completion"] *= 30
    stored = open_source(SourceConfig(path=str(write_rows(tmp_path / "a.csv", rows))), where="data")
    with pytest.raises(UnlearningError, match=r"example 'a.csv:22': \d+ tokens, above data.max_tokens = 64"):
        encode_or_stream(tiny_tokenizer(), stored, max_tokens=64)


def test_a_set_is_looked_through_and_drawn_from_some_examples_at_a_time(stored, monkeypatch):
    at_once = []
    real = encode
    monkeypatch.setattr(streaming, "_CHUNK", 7)
    monkeypatch.setattr(streaming, "encode", lambda t, some, **o: at_once.append(len(some)) or real(t, some, **o))
    streamed = encode_or_stream(tiny_tokenizer(), stored, max_tokens=64)
    streamed.select([5, 6])
    assert at_once == [7, 7, 7, 7, 7, 5, 2]
    assert streamed.longest == encode(tiny_tokenizer(), list(stored), max_tokens=64).longest > 7


def trained(examples):
    training = Training(
        model=ModelConfig(architecture=tiny_architecture(dropout=0.2), vocab_size=VOCAB_SIZE),
        preparation=PreparationConfig(epochs=2, batch_size=8, learning_rate=0.02, warmup_steps=2),
        tokenizer=tiny_tokenizer(),
        examples=examples,
        max_tokens=64,
        seed=3,
        threads=1,
    )
    train_to_end(training, MemorySink(), "model", every_s=1e9)
    return state_of(training.model)


def test_training_on_a_stored_set_ends_in_the_same_weights(stored):
    canaries = [Example(example_id=f"c-{i}", prompt="", completion=f"canary {i}") for i in range(5)]
    mixed = concatenate([stored, canaries, canaries[:2]])
    assert isinstance(mixed, ConcatenatedExamples)
    assert same_state(trained(mixed), trained([*stored, *canaries, *canaries[:2]]))


def test_ascent_beside_a_stored_retain_set_gives_the_same_rows(stored):
    trial = tiny_trial(objective="gradient_difference", batch_size=3)
    rows = []
    for examples in (stored, list(stored)):
        retain = encode_or_stream(tiny_tokenizer(), examples, max_tokens=64)
        workload = pickle.loads(pickle.dumps(replace(tiny_workload(), retain=retain)))
        results = MemorySink()
        run_to_end(Engine(workload), trial, results)
        rows.append([deterministic(part) for part in results.rows[trial.trial_id]])
        assert len(heaviest(workload, trial.config).retain) == 3
    assert rows[0] == rows[1]


@pytest.mark.parametrize("sizes", [(3,), (2, 0, 4), (0, 1, 1)])
def test_joined_parts_are_one_sequence(stored, sizes):
    starts = np.cumsum([0, *sizes])
    parts = [stored[start : start + size] for start, size in zip(starts, sizes, strict=False)]
    whole = ConcatenatedExamples(parts)
    listed = list(chain.from_iterable(parts))
    assert list(whole) == [whole[index] for index in range(len(whole))] == listed
    assert list(whole[1:]) == listed[1:]
    assert whole[-1] == listed[-1]
    with pytest.raises(IndexError):
        whole[len(listed)]
    assert list(pickle.loads(pickle.dumps(whole))) == listed


def test_joining_what_is_in_memory_is_a_plain_list(stored):
    listed = list(stored[:3])
    assert concatenate([listed, tuple(listed)]) == [*listed, *listed]
    assert identity([listed[0]]) == [
        {"example_id": "retain.jsonl:1", "prompt": "x 0 says", "completion": " the x word 0"}
    ]
    assert isinstance(stored[:3], SourceExamples)
    assert identity(ConcatenatedExamples([stored, listed])) != identity(ConcatenatedExamples([stored[:39], listed]))
