"""What is shown of probes: tables of what they found, and what a probe left of a frontier's points."""

from dataclasses import replace

import pytest
from rich.console import Console

from orchestrator.cli.probe_tables import after_tables, probe_tables
from orchestrator.errors import SweepError
from orchestrator.frontier import frontiers, measured_set, probed_after, probed_sets, summary
from tests.orchestrator.helpers import make_spec, measured, write_control, write_probe, write_sweep


@pytest.fixture
def sweep(tmp_path):
    return write_sweep(tmp_path, make_spec())


def trial_of(ledger, forget_set="verses"):
    return next(row for row in ledger.trials() if row["forget_set"] == forget_set and row["last_step"] == 9)


def evaluation_of(ledger, trial, step):
    return next(row.columns() for row in ledger.published(trial["trial_id"])[0] if row.step == step)


@pytest.fixture
def probed(sweep):
    """Two points and three controls of the verses; the first point is measured at two amounts and by two probes."""
    trial = trial_of(sweep)
    five, nine = (evaluation_of(sweep, trial, step)["gen_ex"] for step in (5, 9))
    curve = [measured("in-domain", 2.0, gen_ex=4.5, was=2.5), measured("in-domain", 10.0, gen_ex=6.5, was=2.5)]
    curve = [curve[1], curve[0]]
    write_probe(sweep, trial, 5, [measured("int8", 8.0, gen_ex=1.5, was=five), measured(gen_ex=3.25, was=five)])
    write_probe(sweep, trial, 5, curve, probe="relearning")
    write_probe(sweep, trial, 9, [measured("int8", 8.0, gen_ex=7.0, was=nine), measured(gen_ex=7.0, was=nine)])
    for role, left in (("base", 10.0), ("reference-0", -1.0), ("reference-1", 0.5)):
        was = {"base": 10.0, "reference-0": -0.5, "reference-1": 0.5}[role]
        write_control(sweep, role, [measured(gen_ex=left, was=was, performance=4.0)])
    return sweep


def shown(renderable):
    console = Console(width=300, record=True)
    console.print(renderable)
    return console.export_text()


def test_nothing_was_probed(sweep):
    assert probed_sets(sweep) == []


def test_a_set_has_its_points_the_least_exposed_first_and_its_controls(probed):
    (own,) = probed_sets(probed)
    assert (own.forget_set, own.measure) == ("verses", "gen_ex")
    quality = [evaluation_of(probed, trial_of(probed), one.step)["unlearning_quality"] for one in own.points]
    assert quality == sorted(quality)
    assert [one.role for one in own.controls] == ["base", "reference-0", "reference-1"]
    assert probed_sets(probed, "people") == []
    ((point,),) = [only.points for only in probed_sets(probed, only=[(trial_of(probed)["trial_id"], 9)])]
    assert point.step == 9


def test_what_was_tried_stands_in_the_order_of_probes_and_amounts(probed):
    (own,) = probed_sets(probed)
    assert [str(tried) for tried in own.tried] == [
        "relearning, in-domain 2", "relearning, in-domain 10", "quantization, int8", "quantization, int4",
    ]  # fmt: skip


def test_the_strongest_variant_is_that_after_which_most_exposure_is_there(probed):
    (own,) = probed_sets(probed)
    by_step = {one.step: one for one in own.points}
    assert by_step[5].after("quantization", "gen_ex")["variant"] == "int4"
    assert by_step[5].after("relearning", "gen_ex")["amount"] == 10.0
    assert by_step[9].after("quantization", "gen_ex")["amount"] == 4.0, "of equal ones the least amount"
    assert by_step[9].after("relearning", "gen_ex") is None


def test_the_table_has_means_of_references_and_what_was_before_on_other_examples(probed):
    (own,) = probed_sets(probed)
    trial = trial_of(probed)["trial_id"]
    table = summary.probe_table(own, {(trial, 5): "knee"})
    by_step = {one.step: index for index, one in enumerate(own.points)}
    five, nine, base, references = by_step[5], by_step[9], 2, 3
    assert table.heads[five] == f"knee: {trial[:8]} step 5"
    assert table.heads[base:] == ["base", "references"]
    rows = dict(table.rows)
    evaluation = evaluation_of(probed, trial_of(probed), 5)
    measured_text = f"{evaluation['gen_ex']:.2f} ({evaluation['performance']:.2f})"
    assert rows["as the sweep measured it"][five] == measured_text
    assert rows["as the sweep measured it"][references] == "0.00 (3.15)"
    assert rows["relearning: before, on its examples"][five] == "2.50 (3.20)"
    assert "quantization: before, on its examples" not in rows, "it measures the whole forget set"
    assert rows["relearning, in-domain 10"] == [
        *(["6.50 (3.50)", "-"] if five < nine else ["-", "6.50 (3.50)"]), "-", "-",
    ]  # fmt: skip
    assert rows["quantization, int4"][base] == "10.00 (4.00)"
    assert rows["quantization, int4"][references] == "-0.25 (4.00)"


def test_the_tail_and_membership_stand_beside_the_references(probed):
    (own,) = probed_sets(probed)
    rows = dict(summary.probe_table(own, {}).rows)
    assert rows["95th percentile, bits"] == ["4.50"] * 4, "two points, the base model, the references"
    assert "worst example, bits" not in rows, "no model has it"
    assert "membership AUC far below theirs" in summary.probe_note(own)


def test_points_that_were_not_probed_show_what_evaluations_measured(sweep):
    trial = trial_of(sweep)
    own = measured_set(sweep, "verses", [(trial["trial_id"], 9), (trial["trial_id"], 5)])
    quality = [evaluation_of(sweep, trial, one.step)["unlearning_quality"] for one in own.points]
    assert quality == sorted(quality)
    assert [one.role for one in own.controls] == ["base", "reference-0", "reference-1"]
    table = summary.probe_table(own, {})
    assert "after each probe" not in table.title
    assert [name for name, _ in table.rows] == ["as the sweep measured it", "95th percentile, bits"]
    assert summary.probe_note(own).endswith("nothing was tried on these models yet (unlearn-sweep probe)")


def test_scores_are_shown_where_nothing_else_is_and_steps_to_half_beside(sweep):
    trial = trial_of(sweep)
    tasks = measured("arc", None, before=None, after=None, scores={"acc": 0.25, "stderr": 0.125})
    write_probe(sweep, trial, 5, [tasks], probe="tasks")
    scores = {"regained": 0.6, "steps_to_half": 1.25, "share": 0.5}
    curve = [measured("in-domain", 1.0), measured("in-domain", 2.0, scores=scores)]
    gone = measured("in-domain", 5.0, before=None, after=None, scores={"diverged": 1.0})
    write_probe(sweep, trial, 5, [*curve, gone], probe="relearning")
    write_control(sweep, "base", [measured("in-domain", 5.0)], probe="relearning")
    (own,) = probed_sets(sweep)
    rows = dict(summary.probe_table(own, {}).rows)
    assert rows["tasks, arc: acc"] == ["0.250", "-"]
    assert rows["relearning, in-domain: steps to half"] == ["1.2", "-"]
    assert rows["relearning, in-domain 5"] == ["diverged", "3.00 (3.50)"]
    assert not any("share" in name for name in rows)


def test_exposure_is_generalized_where_a_probe_measures_something_else(sweep):
    write_probe(
        sweep, trial_of(sweep), 5, [measured("arc", None, before=None, after=None, scores={"acc": 0.25})], probe="tasks"
    )
    (own,) = probed_sets(sweep)
    assert own.measure == "gen_ex"


def test_rows_of_other_settings_than_the_controls_have_are_left_out_and_counted(probed):
    trial = trial_of(probed)
    for step in (1, 5):
        found = [measured("int2", 2.0, gen_ex=9.0), measured("int4", 4.0, gen_ex=9.0)]
        write_probe(probed, trial, step, found, settings={"bits": [2]})
    (own,) = probed_sets(probed)
    assert [one.step for one in own.points if one.after("quantization", "gen_ex")] == [9]
    assert "quantization, int2" not in {str(tried) for tried in own.tried}
    assert own.other_settings == {"quantization": 2}
    assert "2 points were probed by quantization with other settings, and left out" in summary.probe_note(own)
    for role in ("base", "reference-0", "reference-1"):
        write_control(probed, role, [measured("int2", 2.0, gen_ex=1.0)], settings={"bits": [2]})
    (own,) = probed_sets(probed)
    assert {one.step for one in own.points if one.after("quantization", "gen_ex")} == {1, 5}
    assert own.other_settings == {"quantization": 1}


def test_steps_to_half_tell_what_did_not_come_back_from_what_was_never_removed(sweep):
    trial = trial_of(sweep)

    def curve(*regained, half=None):
        last = len(regained) - 1
        return [
            measured(
                "in-domain",
                10.0**i,
                scores={"regained": share} | ({"steps_to_half": half} if half and i == last else {}),
            )
            for i, share in enumerate(regained)
        ]

    write_probe(sweep, trial, 5, curve(0.1, 0.2), probe="relearning")
    write_probe(sweep, trial, 9, curve(0.1, 0.6, half=7.5), probe="relearning")
    write_control(sweep, "base", [measured("in-domain", 1.0), measured("in-domain", 10.0)], probe="relearning")
    write_control(sweep, "reference-0", curve(0.1, 0.9, half=4.0), probe="relearning")
    write_control(sweep, "reference-1", curve(0.1, 0.2), probe="relearning")
    (own,) = probed_sets(sweep)
    cells = dict(summary.probe_table(own, {}).rows)["relearning, in-domain: steps to half"]
    by_step = {one.step: cells[index] for index, one in enumerate(own.points)}
    assert (by_step, cells[2:]) == ({5: "> 10", 9: "7.5"}, ["-", "4.0 (1 of 2)"])


def test_each_variant_that_measures_other_examples_has_its_own_row_before(sweep):
    found = [measured("dropped-words", None, was=2.0), measured("template-1", None, was=2.0)]
    found.append(measured("template-2", None, was=4.0))
    write_probe(sweep, trial_of(sweep), 5, found, probe="rewording")
    (own,) = probed_sets(sweep)
    rows = [(name, cells[0]) for name, cells in summary.probe_table(own, {}).rows if name.startswith("rewording")]
    assert rows == [
        ("rewording: before, on its examples", "2.00 (3.20)"),
        ("rewording, dropped-words", "3.00 (3.50)"),
        ("rewording, template-1", "3.00 (3.50)"),
        ("rewording: before, on its examples", "4.00 (3.20)"),
        ("rewording, template-2", "3.00 (3.50)"),
    ]


def test_models_that_diverge_under_a_probe_are_shown_as_such(sweep):
    gone = measured("in-domain", 5.0, after=None, scores={"diverged": 1.0, "share": 0.5})
    write_probe(sweep, trial_of(sweep), 5, [gone], probe="relearning")
    (own,) = probed_sets(sweep)
    assert dict(summary.probe_table(own, {}).rows)["relearning, in-domain 5"] == ["diverged"]
    (own,) = probed_after(sweep, "relearning")
    text = shown(after_tables([own], frontiers(sweep), "relearning"))
    assert any("in-domain 5" in line and "diverged" in line for line in text.splitlines())


def test_with_one_reference_model_the_note_says_what_it_is_compared_with(tmp_path):
    ledger = write_sweep(tmp_path, make_spec(preparation={"epochs": 1, "learning_rate": 0.001, "references": 1}))
    own = measured_set(ledger, "verses", [(trial_of(ledger)["trial_id"], 9)])
    own = replace(own, controls=own.controls[:2])
    assert [one.role for one in own.controls] == ["base", "reference-0"]
    assert "the only reference model is compared with itself" in summary.probe_note(own)


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        ("relearnin", "did you mean 'relearning'?"),
        ("rewording", "no point was probed so; do it first: unlearn-sweep probe"),
        ("tasks", "it measures no exposure"),
    ],
)
def test_a_probe_that_shows_nothing_is_refused(probed, probe, said):
    write_probe(
        probed,
        trial_of(probed),
        5,
        [measured("arc", None, before=None, after=None, scores={"acc": 1.0})],
        probe="tasks",
    )
    with pytest.raises(SweepError, match=said):
        probed_after(probed, probe)


def test_after_a_probe_its_points_stand_beside_what_they_were(probed):
    (own,) = probed_after(probed, "quantization")
    text = shown(after_tables([own], frontiers(probed), "quantization"))
    row = next(line.split() for line in text.splitlines() if line.split()[1:3] == [own.points[0].trial_id[:11], "5"])
    assert row[3:] == [f"{evaluation_of(probed, trial_of(probed), 5)['gen_ex']:.2f}", "3.25", "int4", "3.200", "3.500"]
    assert "Pareto points were probed" in text
    assert any(line.split()[:2] == ["reference-0", "-"] for line in text.splitlines())
    data = own.after_as_json("quantization")
    found = next(model for model in data["models"] if model["step"] == 5)
    assert found["exposure"]["after"] == 3.25
    assert (found["variant"], found["gen_ex"], found["role"]) == ("int4", 3.25, "unlearned")


def test_many_points_stand_in_several_tables(sweep):
    for row in sweep.trials():
        if row["forget_set"] == "verses":
            for evaluation in sweep.published(row["trial_id"])[0]:
                if evaluation.step:
                    write_probe(sweep, row, evaluation.step, [measured()])
    (own,) = probed_sets(sweep)
    text = shown(probe_tables([own], {}))
    assert len(own.points) > 4
    for one in own.points:
        assert f"{one.trial_id[:8]} step {one.step}" in text
    assert text.count("quantization, int4") == -(-len(own.points) // 4)
