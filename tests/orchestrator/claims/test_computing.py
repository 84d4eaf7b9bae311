"""The claims of whole sweeps: known effects are found, and nothing changes with names, orders and units."""

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.claims.computing import claims_of_tables
from orchestrator.claims.deciding import Verdict
from orchestrator.claims.wording import comparisons, turns, verdict_notes
from orchestrator.query import as_json
from tests.benchmarks.claims_power import RIGHT, WORLDS, rates
from tests.orchestrator.claims.inventing import SETS, TOKENS, World, invented
from tests.support import PROPERTY

FEW = settings(PROPERTY, max_examples=6)


def judged(*tables, **options):
    return claims_of_tables(tables, describe=False, **options)


def verdicts(claims):
    return {own.finding.name: own.verdict for own in claims.decisions}


@pytest.fixture(scope="module")
def tables():
    return invented(World(), 5, 0)


@pytest.fixture(scope="module")
def whole(tables):
    return judged(tables).as_json()


def numbers(found):
    """Effects, intervals and p values of all that is judged, in the order of the tables."""
    rows = found["findings"] + found["conditions"]
    return [row[name] for row in rows for name in ("effect", "low", "high", "corrected_p")]


def test_known_effects_are_found_with_eight_replicates():
    found = judged(invented(World(), 8, 0))
    assert {name: own for name, own in verdicts(found).items() if name in RIGHT["clear"]} == RIGHT["clear"]
    assert not found.unmeasured
    assert (len(found.replicates), found.settings, found.measure) == (8, 4, "gen_ex")


def test_the_level_holds_where_nothing_is_true():
    """Of 30 tables 1 or 2 may have a verdict; 5 would by chance in one of 60."""
    found = rates("nothing", 5, 30)
    assert found.tables_with_a_verdict <= 4 / 30
    assert found.conditions_with_a_verdict <= 4 / 30


def test_the_other_way_round_contradicts_and_is_never_taken_for_support():
    found = rates("reversed", 8, 4)
    assert min(found.right.values()) > 0.5
    assert max(found.wrong.values()) == 0


def test_with_two_replicates_nothing_is_decided():
    found = judged(invented(World(spread_steps=0.0, spread_price=0.0, noise=0.0), 2, 0))
    assert set(verdicts(found).values()) == {Verdict.NOT_DECIDED}
    assert "a, b, c, d: not decided: fewer than 3 replicates: at least 1 more" in verdict_notes(found)


@FEW
@given(st.integers(0, 100))
def test_the_order_of_rows_changes_nothing(tables, whole, seed):
    random = np.random.default_rng(seed)

    def shuffled(table):
        return table.take(random.permutation(table.num_rows))

    mixed = replace(
        tables,
        trials=shuffled(tables.trials),
        evaluations=shuffled(tables.evaluations),
        examples=shuffled(tables.examples),
        baselines=[tables.baselines[index] for index in random.permutation(len(tables.baselines))],
    )
    assert judged(mixed).as_json() == whole


def with_replicates(tables, names):
    """Call the replicates otherwise."""

    def renamed(table):
        if "replicate" not in table.column_names:
            return table
        column = pa.array([names[own] for own in table["replicate"].to_pylist()])
        return table.set_column(table.column_names.index("replicate"), "replicate", column)

    return replace(
        tables,
        trials=renamed(tables.trials),
        evaluations=renamed(tables.evaluations),
        examples=renamed(tables.examples),
        baselines=[{**row, "replicate": names[row["replicate"]]} for row in tables.baselines],
    )


@FEW
@given(st.permutations(range(5)))
def test_the_names_of_replicates_change_nothing(tables, whole, order):
    found = judged(with_replicates(tables, [10 * own for own in order])).as_json()
    assert numbers(found) == pytest.approx(numbers(whole), nan_ok=True)


def changed(table, change, *columns):
    for name in columns:
        table = table.set_column(table.column_names.index(name), name, pa.array(change(table[name].to_numpy())))
    return table


def with_levels(tables, bits):
    """Return baselines in which models that never saw a set have a mean GenEx that is higher by some bits."""
    tokens = dict(zip(SETS, TOKENS, strict=True))
    return [
        {**row, "forget_nll": row["forget_nll"] - bits * math.log(2) / tokens[row["forget_set"]]}
        for row in tables.baselines
    ]


def test_bits_are_measured_from_the_references_floor(tables, whole):
    """All exposures are 5 bits higher, those of the references too: only single examples have another 0."""
    moved = replace(
        tables,
        evaluations=changed(tables.evaluations, lambda bits: bits + 5.0, "gen_ex"),
        baselines=with_levels(tables, 5.0),
    )
    assert numbers(judged(moved).as_json()) == pytest.approx(numbers(whole), nan_ok=True)


def test_a_higher_loss_everywhere_is_no_loss(tables, whole):
    moved = changed(tables.evaluations, lambda nats: nats + 1.5, "performance", "population_nll", "retain_nll")
    assert numbers(judged(replace(tables, evaluations=moved)).as_json()) == pytest.approx(numbers(whole), nan_ok=True)


def test_ratios_and_ranks_know_no_unit_of_steps(tables, whole):
    def times(table):
        return changed(table, lambda steps: 8 * steps, "step")

    found = judged(
        replace(tables, evaluations=times(tables.evaluations), examples=times(tables.examples), last_step=320)
    ).as_json()
    for own, other in zip(found["findings"], whole["findings"], strict=True):
        unit = 1 / 8 if own["finding"] == "decay" else 1
        assert own["effect"] == pytest.approx(unit * other["effect"]), own["finding"]
        assert own["corrected_p"] == pytest.approx(other["corrected_p"])


def test_replicates_of_several_sweeps_are_pooled_and_those_of_equal_draws_count_once(tables):
    other = invented(World(), 3, 1, sweep="other", draws="b")
    both = judged(tables, other, differences=["data.seed"])
    assert len(both.replicates) == 8
    assert any("pooled: invented, other, which differ in data.seed" in line for line in verdict_notes(both))
    again = judged(tables, replace(tables, sweep="again"))
    assert len(again.replicates) == 5
    assert numbers(again.as_json()) == pytest.approx(numbers(judged(tables).as_json()), nan_ok=True)
    assert any("invented and again have the same seeds" in note for note in again.notes)


def test_the_condition_that_turns_a_finding_is_named():
    found = judged(invented(World(by_setting=(0.5, 0.5, 0.5, -2.5)), 8, 1))
    (line,) = [line for line in turns(found) if "out needs more steps" in line]
    assert "turns with the optimizer" in line
    assert "supported at adamw" in line
    assert "contradicted at plain sgd" in line
    assert turns(judged(invented(WORLDS["small"], 3, 0))) == [
        "no finding turns under any condition that the sweeps have"
    ]


def test_models_are_a_condition_where_several_are_pooled(tables):
    small = invented(World(), 4, 1, sweep="small", draws="b")
    found = judged(tables, replace(small, model="gpt2 64x2"), differences=["model.architecture.model_type"])
    levels = {own.condition[1] for own in found.conditions if own.condition[0] == "model"}
    assert levels == {"llama 128x2", "gpt2 64x2"}


def test_what_is_mostly_censored_is_said(tables):
    rows = tables.evaluations
    late = replace(tables, evaluations=rows.filter(pa.array(rows["step"].to_numpy() <= 8)), last_step=8)
    found = judged(late)
    notes = verdict_notes(found)
    assert any("MORE THAN HALF of one side is censored" in line for line in notes)
    steps = {own.finding.name: own for own in found.decisions}["steps"]
    assert steps.effect.unreached["in"][0] > steps.effect.unreached["in"][1] / 2
    assert steps.verdict is Verdict.NOT_DECIDED


def test_sets_that_differ_before_unlearning_are_named(tables):
    (line,) = [line for line in verdict_notes(judged(tables)) if "NOT matched" in line]
    assert "length 12 against 30 tokens" in line
    assert "GenEx" not in line


@pytest.mark.parametrize(
    ("sets", "reason"),
    [
        (["verses"], "the sweep has no out-of-distribution forget set to compare with"),
        (["people"], "the sweep has no in-distribution forget set to compare with"),
        ([], "nothing was evaluated yet"),
    ],
)
def test_what_cannot_be_compared_is_said(tables, sets, reason):
    found = judged(replace(tables, sets={name: SETS[name] for name in sets}))
    assert {why for finding, why in found.unmeasured if finding.needs_pair} == {reason}
    assert {own.finding.name for own in found.decisions} == ({"decay"} if "verses" in sets else set()) | (
        {"memorization", "difficulty"} if sets else set()
    )
    as_json(found.as_json())


def test_without_a_common_setting_a_grid_is_proposed(tables):
    rows = tables.evaluations
    ids = [f"{a}-{b}" for a, b in zip(rows["forget_set"].to_pylist(), rows["setting_id"].to_pylist(), strict=True)]
    apart = rows.set_column(rows.column_names.index("setting_id"), "setting_id", pa.array(ids))
    found = judged(replace(tables, evaluations=apart))
    assert "run a grid (search.sampler: grid)" in {f.name: why for f, why in found.unmeasured}["steps"]


def test_costs_that_were_not_measured_and_relative_exposure_alone(tables):
    nothing = changed(tables.evaluations, lambda nats: np.full(len(nats), np.nan), "gen_ex", "distractor_nll")
    found = judged(replace(tables, evaluations=nothing))
    assert found.measure == "rel_ex"
    assert {finding.name for finding, _ in found.unmeasured} == {"price_retained", "area_retained"}
    assert not [own for own in found.conditions if own.condition[0] == "exposure"]


def test_nothing_to_unlearn_is_noted(tables):
    found = judged(replace(tables, baselines=with_levels(tables, 90.0)))
    assert any("verses: in 5 of 5 replicates" in note and "nothing to unlearn" in note for note in found.notes)


def test_sweeps_that_are_not_pooled_are_compared_by_verdict(tables):
    left, right = judged(invented(World(), 8, 0)), judged(replace(invented(WORLDS["reversed"], 8, 0), sweep="other"))
    (line,) = [line for line in comparisons([left, right]) if "out needs more steps" in line]
    shown = [f"{claims.decisions[0].mean:.2f}" for claims in (left, right)]
    assert line == f"  a (out needs more steps): supported ({shown[0]}) on invented; contradicted ({shown[1]}) on other"
    assert comparisons([left]) == []


def test_a_trial_that_tells_nothing_of_its_examples_takes_no_setting_from_the_other_replicates(tables):
    """All examples of one trial are censored: its setting stays in the other replicates, and they are counted."""
    silent = tables.evaluations["trial_id"][0].as_py()
    own = [row["trial_id"] == silent for row in tables.examples.select(["trial_id"]).to_pylist()]
    bits = np.where(own, 50.0, tables.examples["gen_ex"].to_numpy())
    column = tables.examples.column_names.index("gen_ex")
    found = judged(replace(tables, examples=tables.examples.set_column(column, "gen_ex", pa.array(bits))))
    before = {own.finding.name: own.effect for own in judged(tables).decisions}["memorization"]
    after = {own.finding.name: own.effect for own in found.decisions}["memorization"]
    assert (after.untold - before.untold, after.left_out) == (1, 0)
    assert after.contrasts == before.contrasts - 1
    assert list(after.values.values())[1:] == list(before.values.values())[1:], "other replicates are as they were"
    missing, there = after.unreached["examples"]
    assert there == before.unreached["examples"][1], "those of it count, too"
    assert missing > before.unreached["examples"][0]
    assert any(line.startswith(f"d: {after.untold} trial") for line in verdict_notes(found))


def test_a_trial_is_counted_once_in_however_many_contrasts_it_is():
    tables = invented(World(), 3, 0)
    again = {"third": replace(SETS["people"], canary="other")}
    doubled = []
    for table in (tables.trials, tables.evaluations, tables.examples):
        rows = table.to_pylist()
        others = [
            {**row, "trial_id": f"{row['trial_id']}x", "forget_set": "third"}
            for row in rows
            if row["forget_set"] == "people"
        ]
        doubled.append(pa.Table.from_pylist([*rows, *others], schema=table.schema))
    baselines = [
        *tables.baselines,
        *({**row, "forget_set": "third"} for row in tables.baselines if row["forget_set"] == "people"),
    ]
    found = judged(
        replace(
            tables,
            trials=doubled[0],
            evaluations=doubled[1],
            examples=doubled[2],
            baselines=baselines,
            sets={**SETS, **again},
        )
    )
    steps = found.decisions[0].effect
    assert steps.contrasts == 2 * 3 * 4
    assert {side: there for side, (_, there) in steps.unreached.items()} == {"in": 3 * 4, "out": 2 * 3 * 4}


def test_a_finding_either_way_turns_where_its_sign_does(tables):
    found = judged(tables)
    (difficulty,) = [own for own in found.decisions if own.finding.name == "difficulty"]
    assert difficulty.finding.direction == "either"

    def at(level, mean):
        estimate = replace(difficulty.effect.estimate, mean=mean)
        effect = replace(difficulty.effect, estimate=estimate)
        return replace(difficulty, effect=effect, condition=("exposure", level), verdict=Verdict.SUPPORTED)

    whole = replace(at("gen_ex", -0.4), condition=None)
    turned = replace(found, decisions=[whole], conditions=[at("gen_ex", -0.4), at("rel_ex", 0.2)])
    (line,) = turns(turned)
    assert line == (
        "d (difficulty matters), turns with the exposure: all together supported (-0.400); "
        "supported at RelEx (+0.200); supported at GenEx (-0.400)"
    )
    same = replace(turned, conditions=[at("gen_ex", -0.4), at("rel_ex", -0.2)])
    assert turns(same) == ["no finding turns under any condition that the sweeps have"]


def test_sweeps_that_share_their_data_are_told_not_to_be_independent():
    first, second = invented(World(), 3, 0), invented(World(), 3, 1, sweep="second", draws="b")
    apart = claims_of_tables([first, second], describe=False)
    assert not any("not independent" in note for note in apart.notes)
    shared = claims_of_tables([first, replace(second, data=first.data)], describe=False)
    assert any(note.startswith("invented and second have the same data.seed") for note in shared.notes)


def test_without_the_extra_the_verdicts_are_there_and_a_note_says_what_is_not(tables, monkeypatch):
    def missing(module):
        raise ModuleNotFoundError(f"No module named '{module}'", name="lifelines")

    monkeypatch.setattr("importlib.import_module", missing)
    found = claims_of_tables([tables])
    assert (found.survival, found.tests, found.mixed) == (None, None, None)
    assert len(found.decisions) == len(judged(tables).decisions)
    assert any("pip install 'unlearn-sweep[claims]'" in note for note in found.notes)


def test_everything_is_in_the_json(tables):
    found = claims_of_tables([tables]).as_json()
    assert {"effect", "low", "high", "p", "corrected_p", "estimand", "unit", "verdict", "replicates"} <= set(
        found["findings"][0]
    )
    steps = found["findings"][0]
    assert len(steps["by_replicate"]) == steps["replicates"] == 5
    assert steps["censored"].keys() == {"in", "out"}
    assert {own["forget_set"] for own in found["survival"]} == {"verses", "people"}
    assert {own["trait"] for own in found["mixed_models"]} == {"memorization", "difficulty"}
    assert {own["quantity"] for own in found["agreement"]} >= {"before", "after", "settings", "only_gen_ex"}
    assert "NaN" not in as_json(found)
