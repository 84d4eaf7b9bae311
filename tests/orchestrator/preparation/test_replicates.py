"""What is drawn anew in each replicate, what is not, and where nothing would be."""

import json

import pytest

from orchestrator.errors import SweepError
from orchestrator.identity import trial_key
from orchestrator.ledger import Ledger
from orchestrator.plan import plan_sweep
from orchestrator.preparation import ModelCache, SweepInputs, manifest_of, provenance, train_model
from orchestrator.run.session import baseline_row, forget_example_rows
from orchestrator.spec import amend_spec, dump_spec
from orchestrator.spec.loading import validate_spec
from orchestrator.storage import LocalStorage
from orchestrator.yaml_text import parse_yaml
from tests.orchestrator.helpers import make_spec, make_trial
from tests.orchestrator.preparation.test_ready_references import models, spec_of
from tests.support import tiny_architecture
from trainables.models import load_model

__all__ = ["models"]

SPEC = make_spec(
    model={"architecture": tiny_architecture(), "vocab_size": 300},
    data={
        "retain": 20, "retain_evaluation": 4, "heldout": 8, "corpus": {"min_words": 6, "max_words": 6},
        "forget_sets": {
            "verses": {"distribution": "in", "size": 4, "population": 8},
            "people": {"distribution": "out", "canary": "personal_data", "size": 4, "population": 8, "distractors": 4},
        },
    },
    preparation={"epochs": 1, "batch_size": 8, "references": 1},
    replicates=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def replicates():
    return SweepInputs.of_all(SPEC)


def texts(inputs):
    data = inputs.datasets
    sets = {"retain": data.retain, "heldout": data.heldout}
    for name, own in data.forget_sets.items():
        sets |= {f"{name}.forget": own.forget, f"{name}.population": own.population}
    return {name: frozenset(example.text for example in own) for name, own in sets.items()}


def test_every_set_and_every_model_is_drawn_anew(replicates):
    first, *others = map(texts, replicates)
    assert "people.forget" in first
    for other in others:
        assert not [name for name in first if first[name] == other[name]], "sets of the corpus, and canaries"
    keys = [task.key for inputs in replicates for task in inputs.tasks]
    seeds = [task.seed for inputs in replicates for task in inputs.tasks]
    assert len(set(keys)) == len(set(seeds)) == 3 * 2
    assert [task.name for task in replicates[2].tasks] == ["base of replicate 2", "reference-0 of replicate 2"]
    assert len({inputs.workload_hash for inputs in replicates}) == 3
    assert len({inputs.tokens_hash for inputs in replicates}) == 3


def test_the_first_replicate_is_the_sweep_without_others(replicates):
    alone = SweepInputs.of(amend_spec(SPEC, ["replicates=1"]))
    first = replicates[0]
    assert first.spec is not alone.spec
    assert (first.workload_hash, first.tasks, first.tokens_hash) == (
        alone.workload_hash,
        alone.tasks,
        alone.tokens_hash,
    )
    assert first.datasets.content_hash() == alone.datasets.content_hash()
    assert SPEC.of_replicate(0) is SPEC
    assert (
        amend_spec(SPEC, ["replicates=1"]).identity()
        == make_spec(
            **{name: value for name, value in SPEC.model_dump(mode="json").items() if name != "replicates"}
        ).identity()
    )
    trial = make_trial()
    assert trial_key(trial, workload_hash="w") == trial_key(make_trial(replicate=0), workload_hash="w")
    assert trial_key(make_trial(replicate=1), workload_hash="w") != trial_key(trial, workload_hash="w")


def test_a_replicate_is_the_same_whether_it_is_read_alone_or_with_others_and_from_the_stored_spec(replicates):
    stored = validate_spec(parse_yaml(dump_spec(replicates[0].spec), "stored"), "stored")
    assert stored.replicates == 3
    again = SweepInputs.of(stored, replicate=2)
    assert (again.replicate, again.workload_hash) == (2, replicates[2].workload_hash)
    recorded = json.loads(json.dumps(manifest_of(replicates)))
    assert recorded["data_hash"] == replicates[0].datasets.content_hash()
    facts = provenance.facts_of(recorded, 2)
    assert {name: facts[name] for name in again.facts()} == json.loads(json.dumps(again.facts()))
    assert "replicates" not in manifest_of(replicates[:1])


def test_initial_weights_are_drawn_anew(replicates, tmp_path):
    cache = ModelCache(LocalStorage(tmp_path))
    ledger = Ledger(storage=LocalStorage(tmp_path / "tiny"), sweep="tiny")
    weights = []
    for inputs in replicates[:2]:
        spec = inputs.spec.model_copy(  # hardly trained: what differs is what was there before
            update={"preparation": inputs.spec.preparation.model_copy(update={"learning_rate": 1e-12})}
        )
        train_model(spec, inputs.datasets, inputs.tasks[0], cache, ledger)
        model, _ = load_model(cache.fetch(inputs.tasks[0].key, tmp_path / f"model-{inputs.replicate}"), spec.model)
        weights.append(next(p for p in model.parameters() if p.dim() == 2).detach())
    assert (weights[0][:256] - weights[1][:256]).abs().mean() > 1e-3


def test_rows_before_unlearning_name_their_replicate(replicates):
    rows = forget_example_rows(replicates[1].datasets.forget_sets, replicate=1)
    assert {row["replicate"] for row in rows} == {1}
    others = {row["completion"] for row in forget_example_rows(replicates[0].datasets.forget_sets)}
    assert not others & {row["completion"] for row in rows if row["forget_set"] == "verses"}


def test_a_plan_counts_the_models_and_the_trials_of_all_replicates():
    one, three = (plan_sweep(amend_spec(SPEC, [f"replicates={n}"]), concurrent_trials=2) for n in (1, 3))
    for name in ("strata", "trials", "models_to_train", "training_steps", "evaluations", "ascent_steps"):
        assert getattr(three, name) == 3 * getattr(one, name) > 0, name


def test_ready_models_are_kept_once_and_only_the_data_is_drawn_anew(models):
    several = amend_spec(spec_of(models, "one"), ["replicates=3"])
    first, second, third = SweepInputs.of_all(several)
    assert texts(first)["heldout"] != texts(second)["heldout"]
    assert [task.key for task in second.tasks] == [task.key for task in third.tasks]
    assert len({task.key for task in second.tasks}) == 2
    assert second.workload_hash != third.workload_hash
    alone = SweepInputs.of(spec_of(models, "one"))
    assert first.tasks == alone.tasks


def test_replicates_in_which_nothing_but_orders_would_differ_are_refused(models, tmp_path):
    def source(name, count):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"text": f"{name} {index} of all"}) + "\n" for index in range(count)))
        return {"path": str(path)}

    data = {
        "retain": None, "retain_source": source("kept", 20), "retain_evaluation": 4,
        "heldout": None, "heldout_source": source("held", 8),
        "forget_sets": {"own": {"distribution": "in", "source": source("own", 4),
                                "population_source": source("like", 8)}},
    }  # fmt: skip
    spec = spec_of(models, "one")
    fixed = make_spec(**{**spec.model_dump(mode="json"), "data": data})
    SweepInputs.of_all(fixed)
    with pytest.raises(SweepError, match=r"replicates: 2, and all of them would be alike: .* which 'seeds' vary"):
        SweepInputs.of_all(amend_spec(fixed, ["replicates=2"]))
    drawn = amend_spec(fixed, ["replicates=2", "data.heldout=6"])
    assert len(SweepInputs.of_all(drawn)) == 2


def test_a_baselines_row_has_its_replicate():
    class Measured:
        model, forget_set, metrics = "base", "verses", {"performance": 3.0}

    assert baseline_row(Measured(), replicate=4)["replicate"] == 4
