"""A sweep whose chat template writes the date, on another day: the same tokens, and nothing that differs."""

import json
import pickle
from dataclasses import replace
from datetime import date

import pytest

from orchestrator.errors import SweepError
from orchestrator.export.model_card import _model
from orchestrator.ledger import Ledger
from orchestrator.points import EvaluatedStep, prepare_replay
from orchestrator.preparation import ModelCache, SweepInputs, build_workload, manifest_of, train_model
from orchestrator.spec import (
    amend_spec,
    compare,
    day_of_creation,
    dump_spec,
    fix_chat_date,
    keep_chat_date,
    stored_spec,
)
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import make_spec, make_trial
from tests.support import tiny_model
from tests.trainables.encoding.test_chat import LLAMA_31, LLAMA_32, tokenizer_with
from tests.trainables.files import own_cache, pairs, write_rows
from trainables.errors import UnlearningError
from trainables.models import save_model

assert own_cache  # a fixture
pytestmark = pytest.mark.usefixtures("own_cache")
MADE, LATER = date(2024, 5, 7), date(2024, 6, 8)


@pytest.fixture
def spec(tmp_path):
    return spec_of(tmp_path, LLAMA_32)


def spec_of(folder, template):
    save_model(tiny_model(), tokenizer_with(template), folder / "model")
    for name, count in {"forget": 5, "others": 6, "retain": 20, "held": 7}.items():
        write_rows(folder / f"{name}.jsonl", pairs(count, name))
    sources = {name: {"path": str(folder / f"{name}.jsonl")} for name in ("forget", "others", "retain", "held")}
    secrets = {"distribution": "in", "source": sources["forget"], "population_source": sources["others"]}
    return make_spec(
        model={"architecture": None, "vocab_size": 1024, "pretrained": str(folder / "model"), "chat_template": True},
        data={
            "retain_source": sources["retain"], "retain": None, "heldout_source": sources["held"], "heldout": None,
            "forget_sets": {"secrets": secrets},
        },
        preparation={"epochs": 0, "references": 0},
    )  # fmt: skip


def made(spec, folder, *, started="2024-05-07T12:00:00+00:00"):
    """A sweep as its first session leaves it."""
    ledger = Ledger(storage=LocalStorage(folder / "tiny"), sweep="tiny")
    spec = fix_chat_date(spec, today=lambda: MADE)
    ledger.manifest.create(dump_spec(spec), manifest_of([SweepInputs.of(spec)]), {"started_at": started})
    return ledger


def test_the_day_of_creation_is_fixed_in_the_spec_and_another_day_changes_nothing(spec, tmp_path):
    ledger = made(spec, tmp_path)
    stored = stored_spec(ledger)
    assert stored.model.chat_date == MADE
    for again in (spec, stored):  # run SPEC --resume, and resume SWEEP
        later = fix_chat_date(keep_chat_date(again, ledger), today=lambda: LATER)
        assert later == stored
        inputs = SweepInputs.of(later, chat_date=day_of_creation(ledger))
        assert manifest_of([inputs]) == {key: ledger.manifest.read()[key] for key in manifest_of([inputs])}
        assert not compare(stored, later, ledger.manifest.read(), manifest_of([inputs]))


def test_the_date_of_the_spec_is_kept(spec, tmp_path):
    ledger = made(amend_spec(spec, ["model.chat_date=2020-01-02"]), tmp_path)
    assert stored_spec(ledger).model.chat_date == date(2020, 1, 2)


def test_a_template_that_writes_no_date_gets_none(tmp_path):
    spec = spec_of(tmp_path, LLAMA_31)
    ledger = made(spec, tmp_path)
    assert stored_spec(ledger) == spec
    assert SweepInputs.of(spec, chat_date=day_of_creation(ledger)).dated == spec


def test_a_sweep_without_a_date_goes_on_with_the_day_on_which_it_was_made(spec, tmp_path):
    """One that was made before the date was kept: it keeps its identity, too."""
    ledger = Ledger(storage=LocalStorage(tmp_path / "tiny"), sweep="tiny")
    before = SweepInputs.of(spec)
    manifest = {key: value for key, value in manifest_of([before]).items() if key != "tokens_hash"}
    ledger.manifest.create(dump_spec(spec), manifest, {"started_at": "2024-05-07T12:00:00+00:00"})
    assert keep_chat_date(spec, ledger) == spec
    inputs = SweepInputs.of(spec, chat_date=day_of_creation(ledger))
    assert inputs.dated.model.chat_date == MADE
    assert (inputs.workload_hash, inputs.tasks) == (before.workload_hash, before.tasks)
    assert inputs.tokens_hash == SweepInputs.of(amend_spec(spec, ["model.chat_date=2024-05-07"])).tokens_hash
    assert not compare(stored_spec(ledger), spec, ledger.manifest.read(), manifest_of([inputs]))


def test_other_tokens_are_a_breaking_difference(spec, tmp_path):
    ledger = made(spec, tmp_path)
    recorded = ledger.manifest.read()
    found = compare(spec, spec, recorded, {**recorded, "tokens_hash": "other"})
    assert [line.partition(" (")[0] for line in found.breaking] == ["tokens_hash"]
    with pytest.raises(SweepError, match="the same data gives other tokens: another tokenizer, chat template or date"):
        found.require_allowed("tiny", force=False)


def test_a_changed_template_changes_the_hash_of_tokens(spec, tmp_path):
    dated = amend_spec(spec, ["model.chat_date=2024-05-07"])
    before = SweepInputs.of(dated).tokens_hash
    assert SweepInputs.of(dated).tokens_hash == before
    tokenizer_with(LLAMA_31).save_pretrained(tmp_path / "model")
    assert SweepInputs.of(dated).tokens_hash != before


def step_of(ledger, inputs):
    trial = make_trial(forget_set="secrets", workload_hash=inputs.workload_hash)
    row = {**vars(trial), "config": trial.config.model_dump_json()}
    return EvaluatedStep(trial=row, step=2, metrics={})


def test_export_takes_the_sweeps_date_and_refuses_other_tokens_by_name(spec, tmp_path):
    ledger = made(spec, tmp_path)
    inputs = SweepInputs.of(stored_spec(ledger))
    step = step_of(ledger, inputs)
    replay = prepare_replay(ledger, step)
    assert replay.spec.model.chat_date == MADE
    (tmp_path / "model" / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    assert _model(tmp_path / "model", replay.spec.model)["chat_date"] == "2024-05-07"


def test_export_refuses_tokens_that_are_no_longer_those_of_the_sweep(spec, tmp_path):
    ledger = made(spec, tmp_path)
    step = step_of(ledger, SweepInputs.of(stored_spec(ledger)))
    ledger.manifest.create(dump_spec(stored_spec(ledger)), {**ledger.manifest.read(), "tokens_hash": "other"}, {})
    with pytest.raises(SweepError, match=r"tokens_hash .*: was other, is "):
        prepare_replay(ledger, step)


def test_workers_encode_by_the_date_and_refuse_other_tokens(spec, tmp_path):
    ledger = made(spec, tmp_path)
    inputs = SweepInputs.of(stored_spec(ledger))
    cache = ModelCache(LocalStorage(tmp_path))
    (task,) = inputs.tasks
    given = pickle.loads(pickle.dumps((inputs.dated, inputs.datasets)))
    with pytest.raises(UnlearningError, match="the tokenizer of a worker encodes the data otherwise"):
        train_model(*given, task, cache, ledger, tokens="other")
    train_model(*given, task, cache, ledger, tokens=inputs.tokens_hash)
    with pytest.raises(UnlearningError, match=f"kept with the model in .models/{task.key} encodes the data otherwise"):
        build_workload(*given, inputs.tasks, cache, ledger, tokens="other")
    workload, _ = build_workload(*given, inputs.tasks, cache, ledger, tokens=inputs.tokens_hash)
    forget = workload.evaluation_sets["secrets"].forget
    expected = inputs.encoded["data.forget_sets.secrets (forget)"]
    assert forget.tokens.tolist() == expected.tokens.tolist()
    retained = workload.retain.select([0])
    assert "07 May 2024" in inputs.tokenizer.decode(retained.tokens)
    other = replace(inputs, spec=amend_spec(inputs.spec, ["model.chat_date=2024-05-08"]))
    assert "08 May 2024" not in inputs.tokenizer.decode(forget.tokens)
    with pytest.raises(UnlearningError, match="encodes the data otherwise"):
        build_workload(other.dated, inputs.datasets, inputs.tasks, cache, ledger, tokens=inputs.tokens_hash)
