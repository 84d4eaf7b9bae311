"""Whether there is anything to unlearn: judged by several measures on enough examples, before the first trial."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from orchestrator.driver import Interrupt
from orchestrator.errors import NothingToUnlearnError, SweepError
from orchestrator.preparation import Memorized, memorized_by_base, require_something_to_unlearn
from orchestrator.preparation.checking.memorization import MANY, Knowledge, advice, never_trained
from orchestrator.run.session import Session
from tests.orchestrator.helpers import make_spec, memory_ledger
from trainables.metrics.exposure import relative_exposure

NOTHING = Memorized(
    forget_set="verses", size=MANY, population=2 * MANY, gen_ex=0.5, gen_ex_per_token=0.02, floor=0.6, rel_ex=1.2,
    extraction_rate=0.0, floor_extraction_rate=0.0,
)  # fmt: skip
"""As of a model after one epoch."""
LITTLE = replace(NOTHING, gen_ex=4.0, gen_ex_per_token=0.18, floor=1.0)
"""GenEx above the floor, as of any text of a kind that the references never saw; and RelEx below chance."""
EXPECTED, ERROR = never_trained(MANY, 2 * MANY)
WITHOUT_REFERENCES = {"gen_ex": None, "gen_ex_per_token": None, "floor": None}


@pytest.mark.parametrize(
    ("given", "changes", "knowledge"),
    [
        (NOTHING, {}, Knowledge.NONE),
        (NOTHING, {"gen_ex": -3.0, "gen_ex_per_token": -0.1}, Knowledge.NONE),
        (NOTHING, {"gen_ex": 0.7, "gen_ex_per_token": 0.3}, Knowledge.SOME),
        (NOTHING, {"gen_ex_per_token": 0.3}, Knowledge.UNCLEAR),  # within the floor, and more than a trace
        (NOTHING, {"rel_ex": EXPECTED + 2.1 * ERROR}, Knowledge.SOME),
        (NOTHING, {"rel_ex": EXPECTED + 1.9 * ERROR}, Knowledge.NONE),
        (NOTHING, {"extraction_rate": 0.125}, Knowledge.SOME),
        (NOTHING, {"extraction_rate": 0.125, "floor_extraction_rate": 0.125}, Knowledge.NONE),
        (NOTHING, {"size": MANY - 1}, Knowledge.UNCLEAR),
        (NOTHING, {"population": MANY - 1}, Knowledge.UNCLEAR),
        (NOTHING, {"floor": None}, Knowledge.UNCLEAR),  # one reference
        (NOTHING, {"floor": None, "gen_ex_per_token": 0.3}, Knowledge.SOME),
        (LITTLE, {}, Knowledge.NONE),
        (LITTLE, {"size": MANY - 1}, Knowledge.UNCLEAR),
        (LITTLE, {"gen_ex_per_token": 0.26}, Knowledge.SOME),
        (LITTLE, {"rel_ex": EXPECTED + 0.01}, Knowledge.SOME),
        (LITTLE, {"floor": None}, Knowledge.UNCLEAR),
        (LITTLE, WITHOUT_REFERENCES, Knowledge.NONE),
        (LITTLE, WITHOUT_REFERENCES | {"rel_ex": EXPECTED + 0.01}, Knowledge.UNCLEAR),
        (LITTLE, WITHOUT_REFERENCES | {"rel_ex": EXPECTED + 2.1 * ERROR}, Knowledge.SOME),
        (LITTLE, WITHOUT_REFERENCES | {"size": MANY - 1}, Knowledge.UNCLEAR),
    ],
)
def test_a_set_is_judged_by_what_never_trained_examples_show(given, changes, knowledge):
    assert replace(given, **changes).knowledge is knowledge


@pytest.mark.parametrize(("size", "population"), [(8, 16), (MANY, MANY), (MANY, 96), (200, 512)])
def test_relative_exposure_of_never_trained_examples_is_as_expected(size, population):
    rng = np.random.default_rng(0)
    draws = [relative_exposure(rng.random(size), rng.random(population)).mean() for _ in range(2000)]
    expected, error = never_trained(size, population)
    assert np.mean(draws) == pytest.approx(expected, abs=0.03)
    assert np.std(draws) == pytest.approx(error, rel=0.08)
    assert np.mean(np.array(draws) > expected + 2 * error) < 0.05


def row(model, **metrics):
    given = {
        "forget_set": "verses",
        "replicate": 0,
        "gen_ex": 3.0,
        "gen_ex_per_token": 0.1,
        "gen_ex_abs": 4.0,
        "rel_ex": 2.0,
    }
    return {**given, "model": model, "extraction_rate": 0.0, **metrics}


def test_the_floor_is_the_largest_of_the_references_each_against_the_others():
    baselines = [
        row("base"),
        row("base", forget_set="people", gen_ex=50.0),
        row("reference-0", gen_ex=0.1, gen_ex_abs=1.5),
        row("reference-1", gen_ex=-0.1, gen_ex_abs=1.7, extraction_rate=0.25),
        row("copy", gen_ex=None, gen_ex_abs=None, rel_ex=None),
    ]
    (found,) = memorized_by_base(baselines, {"verses": (8, 16)})
    assert (found.gen_ex, found.floor, found.floor_extraction_rate) == (3.0, 1.7, 0.25)
    other = [*baselines, *({**own, "replicate": 1, "rel_ex": 3.0} for own in baselines)]
    (second,) = memorized_by_base(other, {"verses": (8, 16)}, replicate=1)
    assert (second.rel_ex, str(second)[:22]) == (3.0, "verses in replicate 1:")
    (alone,) = memorized_by_base([row("base"), row("reference-0", gen_ex_abs=None)], {"verses": (8, 16)})
    assert (alone.gen_ex, alone.floor) == (3.0, None)


def test_a_sweep_stops_where_no_set_shows_anything_and_goes_on_where_one_may():
    spec = make_spec(name="s")
    for other in (Knowledge.SOME, Knowledge.UNCLEAR):
        second = replace(NOTHING, forget_set="people", size=8 if other is Knowledge.UNCLEAR else MANY)
        if other is Knowledge.SOME:
            second = replace(second, extraction_rate=1.0)
        assert second.knowledge is other
        require_something_to_unlearn([NOTHING, second], spec, "sweeps/s")
    with pytest.raises(NothingToUnlearnError) as stopped:
        require_something_to_unlearn([NOTHING, replace(NOTHING, forget_set="people")], spec, "sweeps/s")
    said = str(stopped.value)
    assert isinstance(stopped.value, SweepError), "exit code 2"
    assert "verses: GenEx +0.50 bits (+0.02 a token, |GenEx| among references up to 0.60), RelEx 1.20" in said
    assert "people: " in said
    assert "preparation.epochs, now 2" in said
    assert "repetitions" in said
    assert "unlearn-sweep resume sweeps/s --force" in said


def test_of_a_pretrained_model_as_it_is_the_texts_are_in_question():
    spec = SimpleNamespace(
        preparation=SimpleNamespace(epochs=0), model=SimpleNamespace(pretrained="gpt2"), data=SimpleNamespace()
    )
    assert "gpt2 is the base model as it is, and has not memorized these texts" in advice(spec)


@pytest.mark.parametrize(
    ("force", "has_trials", "stops"), [(False, False, True), (True, False, False), (False, True, False)]
)
def test_a_run_tells_what_is_memorized_and_stops_unless_forced_or_under_way(force, has_trials, stops):
    told = []
    spec, ledger = make_spec(), memory_ledger()
    sets = {name: SimpleNamespace(forget=range(MANY), population=range(MANY)) for name in spec.data.forget_sets}
    inputs = SimpleNamespace(replicate=0, datasets=SimpleNamespace(forget_sets=sets))
    events = SimpleNamespace(memorized=told.append)
    search = SimpleNamespace(has_trials=has_trials)
    session = Session(
        spec=spec,
        root=None,
        ledger=ledger,
        replicates=[inputs],
        search=search,
        executor=None,
        events=events,
        interrupt=Interrupt(),
        lease=None,
        force=force,
    )
    rows = [
        row(model, forget_set=name, gen_ex=0.2, gen_ex_abs=0.5, rel_ex=1.0)
        for name in sets
        for model in ("base", "reference-0", "reference-1")
    ]
    if stops:
        with pytest.raises(NothingToUnlearnError):
            session.look_for_something_to_unlearn(rows)
    else:
        session.look_for_something_to_unlearn(rows)
    assert [one.forget_set for one in told[0]] == list(sets)
