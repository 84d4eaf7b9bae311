"""Which sweeps are pooled: by their specs, as they lie in ledgers."""

import pyarrow as pa
import pytest

from orchestrator.claims.pooling import flat, pools_of, replicates_in, tables_of
from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.spec import dump_spec
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import SPEC, make_spec

MODEL = {"architecture": {"model_type": "llama", "hidden_size": 16, "num_hidden_layers": 1}}
SEEDS = {"data": {"seed": 1}, "preparation": {"seed": 2}, "seeds": [3, 4], "search": {"seed": 5}}


@pytest.fixture
def made(tmp_path):
    """Make an empty sweep of a spec."""

    def make(name, **sections):
        ledger = Ledger(storage=LocalStorage(tmp_path / name), sweep=name)
        ledger.manifest.create(dump_spec(make_spec(**{"name": name, "model": MODEL} | sections)), {}, {})
        return ledger

    return make


def test_sweeps_that_differ_in_seeds_are_pooled_whatever_they_are_called(made):
    first = made("first")
    others = [made(f"{at}", **{name: own}) for at, (name, own) in enumerate(SEEDS.items())]
    named = made("named", description="words", resources={"memory_gib_per_trial": 3.0}, probes={"quantization": {}})
    (pool,) = pools_of([first, *others, named])
    assert pool.sweeps == ["first", "0", "1", "2", "3", "named"]
    assert pool.differences == ["data.seed", "preparation.seed", "search.seed", "seeds"]
    assert len({own.model for own in tables_of(pool)}) == 1


def test_a_replicate_is_drawn_by_the_seeds_of_data_and_models_and_not_by_those_of_the_ascent(made):
    (pool,) = pools_of([made("first"), made("ascent", seeds=[3, 4]), made("data", **{"data": {"seed": 1}})])
    draws = [own.draws for own in tables_of(pool)]
    assert draws[0] == draws[1] != draws[2]


def test_sweeps_of_other_models_are_pooled_and_told_apart_by_family_and_size(made):
    larger = {"architecture": {"model_type": "gpt2", "n_embd": 64, "n_layer": 2}}
    (pool,) = pools_of([made("first"), made("second", model=larger)])
    assert {key.partition(".")[0] for key in pool.differences} == {"model"}
    tables = tables_of(pool)
    assert [own.model for own in tables] == ["llama 16x1", "gpt2 64x2"]
    assert tables[0].draws != tables[1].draws


def test_models_of_one_family_and_size_are_told_apart_by_their_sweeps(made):
    other = {"architecture": {**MODEL["architecture"], "intermediate_size": 99}}
    (pool,) = pools_of([made("first"), made("second", model=other)])
    assert [own.model for own in tables_of(pool)] == ["llama 16x1 (first)", "llama 16x1 (second)"]


def test_repetitions_that_were_chosen_for_each_model_make_no_other_sweep_and_no_condition(made):
    def sweep(name, repetitions, **match):
        sets = {"verses": {"distribution": "in", "size": 4, "population": 8, "repetitions": repetitions}}
        return made(name, data={"forget_sets": SPEC["data"]["forget_sets"] | sets, **match})

    settled = {"match": {"settled": True}}
    (pool,) = pools_of([sweep("first", [1, 2], **settled), sweep("second", 3, **settled)])
    assert {own.sets["verses"].repetitions for own in tables_of(pool)} == {"matched"}
    assert len(pools_of([sweep("third", 2), sweep("fourth", 3)])) == 2, "which were given make a difference"
    assert len(pools_of([sweep("fifth", 3, **settled), sweep("sixth", 3)])) == 2


@pytest.mark.parametrize(
    "sections",
    [
        {"steps": [0, 2]},
        {"preparation": {"epochs": 3}},
        {"data": {"heldout": 11}},
        {"search": {"space": {"batch_size": 4, "learning_rate": [1e-4]}}},
    ],
)
def test_sweeps_that_differ_in_anything_else_are_judged_apart(made, sections):
    pools = pools_of([made("first"), made("other", **sections), made("seeds", seeds=[7])])
    assert [pool.sweeps for pool in pools] == [["first", "seeds"], ["other"]]
    assert pools[1].differences == []


def test_what_the_spec_says_of_sets_is_read(made):
    (own,) = tables_of(pools_of([made("first")])[0])
    assert {name: (one.distribution, one.canary, one.repetitions) for name, one in own.sets.items()} == {
        "verses": ("in", "", "1"), "people": ("out", "personal_data", "1"),
    }  # fmt: skip
    assert (own.last_step, own.performance_floor) == (9, 3.0)


def test_every_setting_that_can_make_a_difference_is_compared():
    settings = flat(make_spec())
    assert {"data.forget_sets.verses.size", "search.space.batch_size", "steps", "stop.halving"} <= set(settings)
    assert not {key for key in settings if key.startswith(("name", "resources", "checkpoint", "description"))}


def test_no_sweep_and_a_sweep_twice_are_mistakes(made):
    with pytest.raises(SweepError, match="give at least one sweep, for example unlearn-sweep claims"):
        pools_of([])
    with pytest.raises(SweepError, match="is given 2 times; a replicate counts once"):
        pools_of([made("first"), made("first")])


def test_replicates_are_counted_from_the_trials(written_sweeps, made, monkeypatch):
    ledger = Ledger(storage=LocalStorage(written_sweeps / "first"), sweep="first")
    assert replicates_in(ledger) == 1
    assert replicates_in(made("empty")) == 0
    trials = ledger.table("trials")
    place = trials.column_names.index("replicate")
    numbers = pa.array([index % 3 for index in range(trials.num_rows)], type=trials.schema.field(place).type)
    monkeypatch.setattr(Ledger, "table", lambda *_: trials.set_column(place, "replicate", numbers))
    assert replicates_in(ledger) == 1, "the spec has one"
    monkeypatch.setattr("orchestrator.claims.pooling.stored_spec", lambda _: make_spec(replicates=3))
    assert replicates_in(ledger) == 3
