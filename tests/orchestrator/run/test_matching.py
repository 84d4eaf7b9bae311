"""``data.match`` through a real run: base models are trained until the forget sets are as exposed, and that is kept."""

import pytest

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.plan import plan_sweep
from orchestrator.run import ExecutorName, RunOptions, run_sweep
from orchestrator.run import matching as under_test
from orchestrator.spec import amend_spec, stored_spec
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import SilentEvents, make_spec
from tests.support import tiny_architecture

SPEC = make_spec(
    model={"architecture": tiny_architecture(), "vocab_size": 300},
    data={
        "retain": 24, "retain_evaluation": 4, "heldout": 8, "corpus": {"min_words": 6, "max_words": 8},
        "match": {"by": "gen_ex", "tolerance": 0.12, "rounds": 6},
        "forget_sets": {
            "verses": {"distribution": "in", "size": 8, "population": 8},
            "often": {"distribution": "in", "size": 8, "population": 8, "repetitions": 4},
        },
    },
    preparation={"epochs": 12, "batch_size": 8, "learning_rate": 3e-3, "references": 1},
    steps=[1],
    search={"sampler": "grid", "trials": None, "space": {"batch_size": 8, "learning_rate": 1e-3}},
)  # fmt: skip


class Stopped(Exception):
    """Raised by a watcher."""


class Watcher(SilentEvents):
    """Keeps what is said of matching, and may stop at a round of it."""

    def __init__(self, stop_at=None):
        self.rounds, self.outcome, self.stop_at = [], None, stop_at

    def doing(self, what):
        if what.startswith("matching"):
            if len(self.rounds) == self.stop_at:
                raise Stopped
            self.rounds.append(what)

    def matched(self, how):
        self.outcome = how


def run(spec, storage, watcher, **options):
    options = RunOptions(executor=ExecutorName.INLINE, force=True, **options)
    return run_sweep(spec, storage=str(storage), events=watcher, options=options)


def repetitions(spec):
    return {name: own.repetitions for name, own in spec.data.forget_sets.items()}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep that was stopped in its second round of matching, resumed from its spec, and run to its end."""
    storage, first, second = tmp_path_factory.mktemp("sweeps"), Watcher(stop_at=1), Watcher()
    with pytest.raises(Stopped):
        run(SPEC, storage, first)
    stored = Ledger(storage=LocalStorage(storage / "tiny"), sweep="tiny")
    assert not stored_spec(stored).data.match.settled
    assert not list((storage / "tiny").rglob("trials/*.parquet")), "no trial ran"
    run(SPEC, storage, second, resume=True)
    return storage, stored, first, second


def test_the_base_model_is_trained_until_sets_are_as_exposed(swept):
    _, ledger, _, watcher = swept
    levels = {row["forget_set"]: row["gen_ex"] for row in ledger.baselines().rows if row["model"] == "base"}
    assert max(levels.values()) <= 1.12 * min(levels.values())
    assert watcher.outcome.endswith(": matched within 12%")
    spec = stored_spec(ledger)
    assert spec.data.match.settled
    assert spec.data.forget_sets["often"].repetitions == (4,), "the most memorized one stays as it was given"
    assert sum(repetitions(spec)["verses"]) / len(repetitions(spec)["verses"]) > 1
    counts = ledger.forget_examples().to_pylist()
    for name, own in repetitions(spec).items():
        mean = sum(row["repetitions"] for row in counts if row["forget_set"] == name) / 8
        assert mean == sum(own) / len(own), "what was trained is what the spec says"


def test_an_interrupted_matching_goes_the_same_way_again(swept):
    _, _, first, second = swept
    assert len(first.rounds) == 1
    assert len(second.rounds) >= 2
    assert second.rounds[: len(first.rounds)] == first.rounds


def test_a_matched_sweep_is_not_matched_again(swept):
    storage, ledger, _, _ = swept
    before = repetitions(stored_spec(ledger))
    for again in (SPEC, amend_spec(SPEC, ["steps=[1, 2]"]), stored_spec(ledger)):
        watcher = Watcher()
        run(again, storage, watcher, resume=True)
        assert watcher.rounds == []
        assert repetitions(stored_spec(ledger)) == before
    assert len({row["trial_id"] for row in ledger.table("trials").to_pylist()}) == 2, "its trials went on"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("data.match.tolerance=0.5", r"data\.match\.tolerance: was 0\.12, is 0\.5"),
        ("data.forget_sets.often.repetitions=3", r"data\.forget_sets\.often\.repetitions: was \[4\], is \[3\]"),
    ],
)
def test_matching_in_another_way_or_from_other_repetitions_is_another_sweep(swept, change, said):
    storage, *_ = swept
    options = RunOptions(executor=ExecutorName.INLINE, resume=True)
    with pytest.raises(SweepError, match=said):
        run_sweep(amend_spec(SPEC, [change]), storage=str(storage), events=Watcher(), options=options)


def test_sets_that_are_not_named_keep_their_repetitions(tmp_path):
    third = {"distribution": "in", "size": 8, "population": 8, "repetitions": [1, 3]}
    spec = make_spec(**{**SPEC.model_dump(mode="json"), "steps": [1]})
    data = spec.data.model_dump(mode="json")
    data["forget_sets"]["apart"] = third
    data["match"] = {"sets": ["verses", "often"], "tolerance": 0.9}
    watcher = Watcher()
    run(make_spec(**{**spec.model_dump(mode="json"), "data": data}), tmp_path, watcher)
    stored = stored_spec(Ledger(storage=LocalStorage(tmp_path / "tiny"), sweep="tiny"))
    assert repetitions(stored) == {"verses": (1,), "often": (4,), "apart": (1, 3)}
    assert len(watcher.rounds) == 1
    assert "apart" not in watcher.outcome


def test_plan_counts_the_base_models_of_every_round():
    plan = plan_sweep(SPEC, concurrent_trials=1)
    assert plan.matches_sets
    assert plan.models_to_train == 6 + 1
    settled = plan_sweep(amend_spec(SPEC, ["data.match.settled=true"]), concurrent_trials=1)
    assert (settled.matches_sets, settled.models_to_train) == (False, 2)


def test_what_has_no_value_cannot_be_matched():
    baseline = under_test.Baseline(model="base", forget_set="verses", metrics={"gen_ex": float("nan")})
    with pytest.raises(SweepError, match=r"data\.match: gen_ex of the base model on 'verses' is nan"):
        under_test._level([baseline], "verses", "gen_ex")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["data.match.to=verse"], "there is no forget set 'verse'; did you mean 'verses'"),
        (["data.match.sets=[verses]"], "match.sets"),
        (["data.match.sets=[verses, verses]"], "each forget set once; found verses several times"),
        (["data.match=rel_ex"], "match.by"),
        (["data.match.sets=[verses, oftn]"], "match.sets: there is no forget set 'oftn'; did you mean 'often'"),
        (["data.forget_sets.verses.repetitions=[1, 2]"], "forget_sets.verses.repetitions is a list"),
        (["preparation.references=0"], "gen_ex compares with reference models"),
        (["data.match=exposure"], "match.by"),
        (["data.match.tolerance=0"], "tolerance"),
    ],
)
def test_what_cannot_be_matched_is_refused(changes, said):
    with pytest.raises(SweepError, match="not a valid sweep spec") as refused:
        amend_spec(SPEC, changes)
    assert said in str(refused.value)
