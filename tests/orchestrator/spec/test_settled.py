"""Defaults take what there is and say so; numbers that were given are refused where there is less."""

import warnings

import pytest

from orchestrator.errors import SweepError
from orchestrator.preparation import SweepInputs, check_inputs
from orchestrator.spec import compare, dump_spec, load_spec, stored_spec
from orchestrator.spec.loading import validate_spec
from orchestrator.yaml_text import parse_yaml
from search_spaces import shipped_specs
from tests.orchestrator.helpers import memory_ledger, spec_data
from tests.support import tiny_architecture, tiny_model, tiny_tokenizer
from tests.trainables.files import own_cache, pairs, write_rows
from trainables.errors import DataWarning, UnlearningError
from trainables.models import save_model

assert own_cache  # a fixture
pytestmark = pytest.mark.usefixtures("own_cache")


def spec_of(data, **sections):
    given = spec_data(model={"architecture": tiny_architecture()}, **sections)
    given["data"] = {**{k: v for k, v in given["data"].items() if k != "retain_evaluation"}, **data}
    return validate_spec(given, "test")


def test_as_many_retained_examples_are_measured_as_there_are_and_it_is_said(tmp_path):
    source = {"retain_source": {"path": str(write_rows(tmp_path / "retain.jsonl", pairs(60)))}, "retain": None}
    inputs = SweepInputs.of(spec_of(source))
    assert inputs.spec.data.retain_evaluation == 60
    with pytest.warns(DataWarning, match=r"data\.retain_evaluation: 64 unless set, and there are 60 retained examples"):
        check_inputs(inputs)
    with pytest.raises(UnlearningError, match=r"data\.retain_evaluation: 64 retain examples are to be measured"):
        SweepInputs.of(spec_of({**source, "retain_evaluation": 64}))


def test_the_corpus_is_no_exception():
    assert SweepInputs.of(spec_of({"retain": 40})).spec.data.retain_evaluation == 40
    assert SweepInputs.of(spec_of({"retain": 100})).spec.data.retain_evaluation == 64
    with pytest.raises(SweepError, match=r"retain_evaluation \(41\) must not exceed retain \(40\)"):
        spec_of({"retain": 40, "retain_evaluation": 41})


def test_a_settled_number_is_kept_by_the_sweep_and_is_no_change():
    fresh = spec_of({"retain": 40})
    settled = SweepInputs.of(fresh).spec
    stored = validate_spec(parse_yaml(dump_spec(settled), "stored"), "stored")
    assert stored == settled
    again, resumed = SweepInputs.of(fresh), SweepInputs.of(stored)
    assert again.spec == resumed.spec == stored
    assert again.workload_hash == resumed.workload_hash
    assert not compare(stored, again.spec, {}, {})
    assert resumed.notes == ()


def test_a_spec_that_is_sent_elsewhere_leaves_open_what_was_open():
    fresh = spec_of({"retain": 40})
    sent = validate_spec(parse_yaml(dump_spec(fresh, every_default=False), "sent"), "sent")
    assert sent == fresh
    assert SweepInputs.of(sent).spec.data.retain_evaluation == 40
    for name in shipped_specs():
        spec = load_spec(name)
        assert validate_spec(parse_yaml(dump_spec(spec, every_default=False), "sent"), "sent") == spec


def test_a_sweep_that_was_written_before_its_data_was_read_leaves_open_what_was_open():
    ledger, given = memory_ledger(), parse_yaml(dump_spec(spec_of({"retain": 40}), every_default=False), "given")
    del given["search"]["across"]
    fresh = validate_spec(given, "test")
    ledger.manifest.create(dump_spec(fresh, every_default=False), {}, {})
    stored = stored_spec(ledger)
    assert stored == fresh
    assert stored.search.across == "replicates", "and not what a stored spec means that does not name it"
    assert SweepInputs.of(stored).spec.data.retain_evaluation == 40


def test_the_longest_example_fits_unless_a_bound_was_given(tmp_path):
    long = [{"completion": "word " * 150 + "end"}]
    source = {"heldout_source": {"path": str(write_rows(tmp_path / "held.jsonl", [*pairs(9), *long]))}, "heldout": None}
    inputs = SweepInputs.of(spec_of(source))
    longest = inputs.spec.data.max_tokens
    assert longest > 128
    assert inputs.notes[0].startswith(
        f"data.max_tokens: 128 unless set, and data.heldout has an example of {longest} tokens"
    )
    assert SweepInputs.of(spec_of({**source, "max_tokens": longest})).notes == ()
    with pytest.raises(UnlearningError, match=rf"held\.jsonl:10': {longest} tokens, above data\.max_tokens = 128"):
        SweepInputs.of(spec_of({**source, "max_tokens": 128}))


def test_the_longest_of_a_large_source_is_looked_at(tmp_path):
    rows = pairs(5000)
    rows[3217] = {"completion": "word " * 150 + "end"}
    source = {"retain_source": {"path": str(write_rows(tmp_path / "retain.jsonl", rows))}, "retain": None}
    inputs = SweepInputs.of(spec_of(source))
    assert "data.retain has an example of" in inputs.notes[0]
    with pytest.raises(UnlearningError, match=r"retain\.jsonl:3218': \d+ tokens, above data\.max_tokens = 128"):
        SweepInputs.of(spec_of({**source, "max_tokens": 128}))


def test_an_untrained_model_needs_no_word_of_references():
    model = {"architecture": None, "pretrained": "my-model"}
    given = spec_data(model=model)
    given["preparation"] = {"epochs": 0, "learning_rate": 1e-3}
    assert validate_spec(given, "test").preparation.references == 0


def test_what_misleads_is_refused_in_a_new_sweep_and_said_of_one_that_exists():
    few = {"forget_sets": {"verses": {"distribution": "in", "size": 4, "population": 2}}}
    inputs = SweepInputs.of(spec_of({**few, "retain": 100}))
    with pytest.raises(SweepError, match=r"data\.forget_sets\.verses\.population: 2 examples"):
        check_inputs(inputs)
    with pytest.warns(DataWarning, match=r"data\.forget_sets\.verses\.population: 2 examples"):
        check_inputs(inputs, exists=True)


def test_what_would_fail_is_refused_in_a_sweep_that_exists_too(tmp_path):
    save_model(tiny_model(), tiny_tokenizer(), tmp_path)
    model = {
        "architecture": None, "vocab_size": 1024, "pretrained": str(tmp_path), "lora": {"target_modules": ["query"]},
    }  # fmt: skip
    given = spec_data(model=model)
    with pytest.raises(SweepError, match=r"model\.lora\.target_modules: 'query', which is no layer of this llama"):
        check_inputs(SweepInputs.of(validate_spec(given, "test")), exists=True)


def test_the_shipped_demo_is_told_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        check_inputs(SweepInputs.of(load_spec("demo")))
