"""Replicates in a search: strata of their own, the same settings in all of them, and the mean over them."""

import math
from collections import Counter
from dataclasses import replace

import pytest

from orchestrator.errors import SweepError
from orchestrator.identity import Stratum
from orchestrator.ledger import DriverWriter, metric_row
from orchestrator.search.sampling.samplers import STEP_INDEX
from orchestrator.spec import amend_spec
from tests.orchestrator.helpers import (
    Crash,
    Driver,
    base_record,
    halving_of,
    make_search,
    make_spec,
    memory_ledger,
    of_model,
)
from tests.orchestrator.search.test_across_seeds import TAME
from tests.orchestrator.search.test_search import observations, ran, rows

GRID = {"batch_size": 4, "learning_rate": [1e-5, 1e-4, 1e-3]}


def replicated(replicates, **search):
    defaults = {"sampler": "grid", "across": "replicates", "trials": None, "space": GRID}
    return make_spec(seeds=[0, 7], replicates=replicates, search=defaults | search)


def test_the_first_replicate_is_the_sweep_without_others():
    (_, alone, _), (_, both, _) = ran(replicated(1)), ran(replicated(2))
    for table in ("trials", "evaluations", "examples"):
        own = [row for row in rows(both, table) if row["replicate"] == 0]
        assert own == rows(alone, table), table
        assert len(rows(both, table)) == 2 * len(own)
    assert {row["stratum"] for row in both.trials() if row["replicate"] == 1} == {
        Stratum(forget_set=name, seed=seed, replicate=1).name for name in ("verses", "people") for seed in (0, 7)
    }


@pytest.mark.parametrize(
    ("across", "studies"),
    [
        ("replicates", {"verses", "people"}),
        ("seeds", {"verses", "people", "verses/replicate=1", "people/replicate=1"}),
        ("each", {f"{name}/seed={seed}{more}" for name in ("verses", "people") for seed in (0, 7)
                  for more in ("", "/replicate=1")}),
    ],
)  # fmt: skip
def test_settings_are_paired_whatever_is_searched_together(across, studies):
    search, ledger, order = ran(replicated(2, across=across, sampler="random", trials=3, space=TAME))
    assert set(search.studies) == studies
    assert (search.total, len(order)) == (24, 24)
    per_seed = Counter((row["forget_set"], row["seed"], row["setting_id"]) for row in ledger.trials())
    assert set(per_seed.values()) == {2}, "each setting of a seed in both replicates"


def test_a_study_is_told_the_mean_over_replicates_and_seeds():
    search, ledger, _ = ran(replicated(2, sampler="tpe", trials=3, space=TAME))
    told = sorted(
        (params[STEP_INDEX], *values) for params, values, _ in observations(search.studies["verses"].study)
        if values[0] < math.inf
    )  # fmt: skip
    groups = {}
    for row in rows(ledger):
        if row["forget_set"] == "verses":
            values = (row["unlearning_quality"], row["performance"])
            groups.setdefault((row["setting_id"], row["step"]), []).append(values)
    steps = (0, 2, 5, 9)
    expected = sorted(
        (steps.index(step), *(math.fsum(column) / 4 for column in zip(*group, strict=True)))
        for (_, step), group in groups.items()
    )
    assert told == expected
    assert len(told) == 12


@pytest.mark.parametrize("across", ["replicates", "seeds"])
def test_a_search_cut_off_goes_on_as_an_unbroken_one(across):
    spec = replicated(2, across=across, sampler="tpe", trials=3, space=TAME)
    live, ledger, order = ran(spec)
    for cut in (31, len(order) * 5 - 2):
        other = memory_ledger()
        with pytest.raises(Crash):
            Driver(make_search(spec, other), other, crash_after=cut).run()
        search = make_search(spec, other)
        Driver(search, other).run()
        assert rows(other, "trials") == rows(ledger, "trials")
        for name, searched in search.studies.items():
            assert observations(searched.study) == observations(live.studies[name].study)


def test_a_sweep_grows_by_replicates_and_its_studies_learn_from_all_of_them():
    spec = replicated(1)
    _, ledger, _ = ran(spec)
    before = rows(ledger)
    wider = amend_spec(spec, ["replicates=3"])
    search = make_search(wider, ledger)
    assert not search.is_exhausted()
    order = Driver(search, ledger).run()
    assert len(order) == 2 * 2 * 3 * 2, "two more replicates, seeds, and forget sets, at three rates"
    assert [row for row in rows(ledger) if row["replicate"] == 0] == before
    whole = ran(wider)
    assert rows(ledger, "evaluations") == rows(whole[1], "evaluations")
    for name, searched in search.studies.items():
        assert sorted(map(str, observations(searched.study))) == sorted(
            map(str, observations(whole[0].studies[name].study))
        )


def test_bounds_of_a_search_are_measured_from_the_mean_of_the_base_models():
    spec = replicated(2, sampler="tpe", trials=1, constraints={"performance_increase_at_most": 1.0})
    ledger = memory_ledger()
    DriverWriter(ledger).publish_baselines(
        [
            metric_row("baselines", {"model": "base", "forget_set": name, "replicate": replicate, **of_model(base)})
            for replicate in range(2)
            for name in ("verses", "people")
            for base in [replace(base_record(), performance=3.0 + replicate)]
        ]
    )
    search = make_search(spec, ledger)
    Driver(search, ledger).run()
    by_step = {
        params[STEP_INDEX]: (values[1], constraints["performance_increase_at_most"])
        for params, values, constraints in observations(search.studies["verses"].study)
    }
    performance, violation = by_step[0]
    assert violation == pytest.approx(performance - 3.5 - 1.0)
    lost = memory_ledger()
    with pytest.raises(SweepError, match="has no row of the base model on 'verses'"):
        Driver(make_search(spec, lost), lost).run()


@pytest.mark.parametrize(("across", "agree"), [("replicates", True), ("seeds", False)])
def test_halving_judges_a_setting_as_one_where_a_study_takes_its_mean(across, agree):
    spec = replicated(2, across=across)
    spec = amend_spec(spec, ["stop.halving={rungs: [2]}"])
    ledger = memory_ledger()
    search = make_search(spec, ledger, concurrent_trials=16)
    trials = [search.next().trial for _ in range(8)]
    (first, second) = (t.trial_id for t in trials if (t.forget_set, t.seed) == ("verses", 0))
    halving = halving_of(ledger, spec)
    halving._workload_hashes = ["of the first", "of the second"]
    assert halving.agree(second, 2, "behind") == "behind"
    assert (halving.agree(first, 2, None) is not None) == agree
