"""Preparation: blind to the forget set where it must be, and what it measures."""

import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import (
    PROPERTY,
    tiny_architecture,
    tiny_encoded,
    tiny_model,
    tiny_tokenizer,
)
from trainables.config import DataConfig, EvaluationConfig, ModelConfig
from trainables.data import Datasets, Example, ForgetSet
from trainables.encoding import load_tokenizer
from trainables.metrics import score_set
from trainables.models import save_model
from trainables.preparation import encode_all, evaluation_sets, prepare_tokenizer, selection


def datasets():
    def named(label, count):
        return tuple(Example(example_id=f"{label}-{i}", prompt="", completion=f" {label} {i}") for i in range(count))

    forget_set = ForgetSet(
        name="set",
        distribution="in",
        forget=(Example(example_id="secret", prompt="", completion=" zqzq" * 8),),
        population=named("population", 3),
        distractors=(),
        repetitions=(50,),
    )
    return Datasets(retain=named("retain", 9), heldout=named("heldout", 4), forget_sets={"set": forget_set})


@given(st.integers(2, 40), st.floats(0.001, 0.999), st.integers(0, 3))
@PROPERTY
def test_a_selection_is_a_share_of_the_examples_and_leaves_some(size, share, seed):
    chosen = selection(size, share, seed)
    assert list(chosen) == sorted(set(chosen) & set(range(size)))
    assert 1 <= len(chosen) < size
    assert abs(len(chosen) - share * size) <= 1
    assert chosen == selection(size, share, seed)


def test_a_selection_is_drawn_by_the_seed_and_nothing_is_selected_of_a_share_of_0():
    assert selection(40, 0.5, 1) != selection(40, 0.5, 2)
    assert selection(40, 0.0, 1) == ()


def test_the_performance_floor_is_of_the_examples_that_choices_are_made_by():
    model = tiny_model(seed=1).eval()
    parts = {"forget": tiny_encoded(3, 1), "population": tiny_encoded(4, 2), "heldout": tiny_encoded(6, 3)}
    parts["retain"] = parts["heldout"]
    (sets,) = evaluation_sets({"set": parts}, models=[model], batch_size=4, max_increase=1.0, selected=(1, 4)).values()
    own = score_set(model, parts["heldout"].select([1, 4]), batch_size=4).nll_per_token
    assert sets.max_heldout_nll == pytest.approx(own + 1.0)
    assert sets.selected == (1, 4)


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


def test_encode_all_encodes_all_distractors_where_there_are_any():
    own = datasets()
    kept = tuple(Example(example_id=f"kept-{i}", prompt="", completion=f" kept {i}") for i in range(5))
    forget_sets = {"set": replace(own.forget_sets["set"], distractors=kept)}
    data = DataConfig(
        retain=9,
        retain_evaluation=2,
        heldout=4,
        forget_sets={"set": {"distribution": "in", "size": 1, "population": 3}},
    )
    encoded = encode_all(tiny_tokenizer(), replace(own, forget_sets=forget_sets), data, EvaluationConfig())["set"]
    assert list(encoded["distractors"].example_ids) == [example.example_id for example in kept]
    sets = evaluation_sets({"set": encoded}, models=[tiny_model()], batch_size=4, max_increase=1)["set"]
    assert sets.distractors is encoded["distractors"]


@pytest.mark.parametrize("references", [0, 1, 2])
def test_evaluation_sets_measure_base_and_references(references):
    names = ("forget", "population", "heldout", "retain")
    encoded = {
        which: {name: tiny_encoded(4, seed=shift + i) for i, name in enumerate(names)}
        for shift, which in enumerate(("one", "other"))
    }
    models = [tiny_model(seed=seed).eval() for seed in range(references + 1)]
    found = evaluation_sets(encoded, models=models, batch_size=4, max_increase=2.5)
    assert list(found) == ["one", "other"]
    for which, sets in found.items():
        forget, heldout = encoded[which]["forget"], encoded[which]["heldout"]
        assert (sets.forget, sets.heldout) == (forget, heldout)
        np.testing.assert_array_equal(sets.base_logp_N, score_set(models[0], forget, batch_size=4).logp_N)
        assert sets.reference_logp_SN.shape == (references, 4)
        for row, model in zip(sets.reference_logp_SN, models[1:], strict=True):
            np.testing.assert_array_equal(row, score_set(model, forget, batch_size=4).logp_N)
        heldout_nll = score_set(models[0], heldout, batch_size=4).nll_per_token
        assert math.isclose(sets.max_heldout_nll, heldout_nll + 2.5)


def test_one_model_is_measured_at_a_time():
    alive = weakref.WeakSet()

    def models():
        for seed in range(3):
            assert not alive
            model = tiny_model(seed=seed).eval()
            alive.add(model)
            yield model
            del model

    encoded = {name: tiny_encoded(4) for name in ("forget", "population", "heldout", "retain")}
    sets = evaluation_sets({"set": encoded}, models=models(), batch_size=4, max_increase=1)["set"]
    assert sets.reference_logp_SN.shape == (2, 4)
