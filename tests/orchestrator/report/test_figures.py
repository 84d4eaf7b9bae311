"""Figures: units on every axis, what is drawn and what is thinned, and sweeps that have little to draw."""

import json
import math
import re
from dataclasses import replace

import optuna
import pyarrow as pa
import pytest
from altair.utils.schemapi import SchemaValidationError
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from orchestrator.claims import wording
from orchestrator.claims.computing import claims_of_tables
from orchestrator.identity import Stratum
from orchestrator.ledger import DriverWriter, open_sweep
from orchestrator.report import data as report_data
from orchestrator.report import importances as importances_module
from orchestrator.report.data import Examples, look_up, read_report_data, step_after_unlearning
from orchestrator.report.figures import (
    claims_figure,
    examples_figure,
    frontier_figure,
    heatmap_figure,
    importance_figure,
    trajectory_figure,
)
from orchestrator.report.figures.examples import EXAMPLES_DRAWN
from orchestrator.report.importances import Importance, importances
from tests.orchestrator.claims.inventing import World, invented
from tests.orchestrator.helpers import make_search, make_spec, write_sweep

UNITS = re.compile(r"bits|nats/token|steps|learning rate|share of 1")


@pytest.fixture(scope="module")
def sweep(written_sweeps):
    return open_sweep("first", str(written_sweeps))


@pytest.fixture(scope="module")
def data(sweep):
    return read_report_data(sweep)


@pytest.fixture(scope="module")
def figures(sweep, data):
    shares = [Importance(forget_set="verses", setting="step", objective="performance", share=1.0)]
    drawn = [frontier_figure(data), trajectory_figure(data), heatmap_figure(data), examples_figure(data)]
    return {figure.name: figure for figure in [*drawn, importance_figure(shares, [], data.forget_sets)]}


def nodes(value):
    """Walk a specification: every mapping in it."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from nodes(inner)


def encodings(spec, channel):
    return [node["encoding"][channel] for node in nodes(spec) if channel in node.get("encoding", {})]


def values(spec):
    return spec["datasets"][spec["data"]["name"]]


def test_every_figure_has_panels_of_the_pages_width(figures):
    assert set(figures) == {"frontier", "trajectories", "heatmap", "examples", "importances"}
    for figure in figures.values():
        specs = figure.page_specs()
        assert specs
        assert all(spec["width"] == "container" for spec in specs)
        json.dumps(specs, allow_nan=False)


def test_every_figure_is_valid_vega_lite(figures):
    """A run draws them unvalidated."""
    panels = [panel for figure in figures.values() for panel in figure.panels]
    assert len(panels) > len(figures)
    for panel in panels:
        panel.to_dict(validate=True)
    broken = panels[0].copy(deep=True)
    broken.layer[0].mark = {"type": "no mark"}
    with pytest.raises(SchemaValidationError):
        broken.to_dict(validate=True)


def test_every_axis_has_units(figures):
    for figure in figures.values():
        for spec in figure.page_specs():
            for channel in ("x", "y"):
                titled = [e for e in encodings(spec, channel) if e.get("field") not in (None, "setting")]
                assert all(UNITS.search(e["title"]) for e in titled), (figure.name, titled)
                assert titled or (figure.name, channel) == ("importances", "y")


def test_images_are_drawn_without_a_browser(figures):
    images = figures["heatmap"].images()
    assert images["png"].startswith(b"\x89PNG")
    assert images["svg"].startswith(b"<svg")
    assert b"median of mean |GenEx|, bits" in images["svg"]


def test_the_frontier_marks_base_and_references_and_tells_the_distributions_apart(data, figures):
    verses, people, together = figures["frontier"].page_specs()
    kinds = {"evaluation", "Pareto point", "base model", "reference model", "price"}
    assert {row["kind"] for row in values(verses)} == kinds
    pareto = [row for row in values(verses) if row["kind"] == "Pareto point"]
    assert len(pareto) == len(data.frontiers[0].points)
    colours = [encodings(spec, "color")[0]["scale"]["range"][1] for spec in (verses, people)]
    assert len(set(colours)) == 2
    (dashes,) = {json.dumps(e["scale"]["range"]) for e in encodings(together, "strokeDash")}
    assert dashes == "[[1, 0], [5, 3]]"


def test_hovering_tells_trial_settings_and_command(data, figures):
    for name in ("frontier", "trajectories"):
        spec = figures[name].page_specs()[0]
        shown = [{entry["field"] for entry in tooltip} for tooltip in encodings(spec, "tooltip")]
        assert any({"trial_id", "settings", "seed", "step", "command"} <= fields for fields in shown)
        if name == "frontier":
            assert sum("population_nll" in fields for fields in shown) == len(shown) - 1, "not of the price"
            assert not any("distractor_nll" in fields for fields in shown), "no set has any"
            assert {row["population_nll"] for row in values(spec) if row["kind"] != "price"} == {2.5}
            assert all(row["settings"].count(" · ") == 2 for row in values(spec) if "trial_id" in row)
        (command,) = (t["calculate"] for t in spec["transform"] if t.get("as") == "command")
        assert "unlearn-sweep query" in command
        assert "datum.trial_id" in command


def test_the_command_can_be_typed_as_it_stands():
    assert (
        look_up("a b", "ab", 3)
        == """unlearn-sweep query 'a b' "from evaluations where trial_id = 'ab' and step = 3\""""
    )


def test_what_was_not_measured_is_not_explained(tmp_path):
    ledger = write_sweep(tmp_path, make_spec(name="bare"))
    DriverWriter(ledger).publish_baselines([])
    bare = read_report_data(ledger)
    caption = frontier_figure(bare).caption
    assert "Diamond" not in caption
    assert "Triangles" not in caption
    performance = trajectory_figure(bare).page_specs()[2]
    assert performance["title"]["subtitle"] == "performance"
    assert len(performance["layer"]) == 2


def test_a_sweep_that_never_goes_below_zero_wastes_no_half_of_its_frame(data):
    above = type(data)(**{**vars(data), "trajectories": [r for r in data.trajectories if r["gen_ex"] >= 0]})
    scaled = [e for e in encodings(trajectory_figure(above).page_specs()[0], "y") if "scale" in e]
    low, high = scaled[0]["scale"]["domain"]
    assert -0.1 * high < low < 0


def test_points_outside_the_frame_are_not_drawn_and_lines_are_cut_there(figures):
    verses = figures["frontier"].page_specs()[0]
    right = encodings(verses, "x")[0]["scale"]["domain"][1]
    assert max(row["performance"] for row in values(verses)) <= right
    assert "evaluations lie outside the frames" in figures["frontier"].caption
    spec = figures["trajectories"].page_specs()[2]
    lines, points, _ = spec["layer"]
    assert lines["mark"]["clip"] is True
    (within,) = (t["filter"] for t in points["transform"])
    assert within == {"field": "performance", "range": encodings(spec, "y")[0]["scale"]["domain"]}


def test_a_line_of_a_trajectory_is_one_clipped_group_however_many_trials_there_are(figures):
    """Each clipped group is drawn on a canvas of its own: with one a trial, a PNG took ten times as long."""
    svg = figures["trajectories"].images()["svg"].decode()
    assert svg.count("clip-path=") <= len(figures["trajectories"].panels)


def test_learning_rates_are_coloured_on_a_log_scale_and_the_unexposed_level_is_ruled(figures):
    gen_ex, rel_ex, performance = figures["trajectories"].page_specs()[:3]
    assert encodings(gen_ex, "color")[0]["scale"]["type"] == "log"
    levels = [[e["datum"] for e in encodings(spec, "y") if "datum" in e] for spec in (gen_ex, rel_ex, performance)]
    floors = [[-0.5, 0.0], [1.0, pytest.approx(1.1)], []]  # low end and mean of the reference models
    ideals = [[0.0], [pytest.approx(math.log2(math.e))], [3.0]]
    assert levels == [floor + ideal for floor, ideal in zip(floors, ideals, strict=True)]


def test_the_floor_is_a_band_in_every_panel_of_a_frontier_and_captions_say_so(figures):
    for spec in figures["frontier"].page_specs()[:2]:
        band, mean = spec["layer"][:2]
        assert band["mark"]["type"] == "rect"
        assert [band["encoding"][end]["datum"] for end in ("y", "y2")] == [2.0, 3.0]
        assert mean["encoding"]["y"]["datum"] == 2.5
    assert "Green band and line: the floor" in figures["frontier"].caption
    for name in ("heatmap", "examples"):
        assert "Mean |GenEx| of the reference models themselves, each against the others" in figures[name].caption


def test_a_heatmap_cell_is_the_median_of_its_bin(data, sweep):
    rows = sweep.table("evaluations").to_pylist()
    for cell in data.heatmap:
        own = [
            row["unlearning_quality"]
            for row in rows
            if all(row[name] == cell[name] for name in ("forget_set", "step"))
            and row["optimizer"] == cell["method"]
            and cell["rate_from"] <= row["learning_rate"] <= cell["rate_to"]
        ]
        assert own
        middle = sorted(own)
        expected = (middle[(len(own) - 1) // 2] + middle[len(own) // 2]) / 2
        assert cell["quality"] == pytest.approx(expected)


def test_many_learning_rates_share_rows(tmp_path, monkeypatch):
    data = read_report_data(write_sweep(tmp_path, make_spec(name="many", search={"trials": 30})))
    for forget_set in data.forget_sets:
        for optimizer in ("adamw", "sgd"):
            rows = {c["rate_from"] for c in data.heatmap if (c["forget_set"], c["method"]) == (forget_set, optimizer)}
            assert 2 <= len(rows) <= report_data.RATE_BINS


def test_large_sweeps_are_thinned_but_keep_whole_trials(tmp_path, monkeypatch):
    ledger = write_sweep(tmp_path, make_spec(name="large", search={"trials": 30}))
    for name, limit in (("EVALUATIONS_DRAWN", 20), ("TRAJECTORIES_DRAWN", 5)):
        for query in ("_DRAWN", "_TRAJECTORIES"):
            text = getattr(report_data, query).replace(str(getattr(report_data, name)), str(limit))
            monkeypatch.setattr(report_data, query, text)
    data = read_report_data(ledger)
    for forget_set in data.forget_sets:
        assert 0 < sum(row["forget_set"] == forget_set for row in data.evaluations) <= 20
    drawn = {row["trial_id"] for row in data.trajectories}
    assert 0 < len(drawn) <= 2 * 2 * 5
    rows = ledger.table("evaluations").to_pylist()
    assert sum(row["trial_id"] in drawn for row in rows) == len(data.trajectories)
    assert f"{len(drawn)} of 60 trials are drawn" in trajectory_figure(data).caption
    assert "only every n-th evaluation is taken" in frontier_figure(data).caption


def test_exposure_before_unlearning_follows_from_memorization(data):
    examples = data.examples[0]
    row = examples.rows[0]
    assert row["before"] == pytest.approx(row["memorization"] * row["num_tokens"] / math.log(2))
    assert (row["before"], row["after"]) == (pytest.approx(0.1 * 8 / math.log(2)), 0.5)


def test_after_is_the_step_nearest_to_the_price(data):
    frontier = data.frontiers[0]
    price = frontier.price("gen_ex")
    crossing = next(c for c in frontier.crossings["gen_ex"] if c.setting_id == price.setting_id)
    trial_id, step, choice = step_after_unlearning(frontier)
    assert trial_id == crossing.trial_id
    assert abs(step - crossing.steps) == min(abs(s - crossing.steps) for s in (2, 5, 9))
    assert "GenEx 0" in choice


def test_a_trial_that_never_crosses_gives_the_least_exposed_point(data):
    never = replace(data.frontiers[0], priced=None)
    assert step_after_unlearning(never)[:2] == (never.points[0]["trial_id"], never.points[0]["step"])
    assert step_after_unlearning(replace(never, points=[])) is None


def test_the_price_is_marked_in_its_panel_and_among_all_and_the_caption_says_what_it_is(data, figures):
    *panels, together = figures["frontier"].page_specs()
    for frontier, spec in zip(data.frontiers, panels, strict=True):
        best = frontier.price("gen_ex")
        (price,) = (row for row in values(spec) if row["kind"] == "price")
        assert (price["performance"], price["unlearning_quality"]) == (
            best.performance.mean, best.unlearning_quality.mean,
        )  # fmt: skip
        assert price["settings"] == best.settings
        assert encodings(spec, "x")[0]["scale"]["domain"][1] >= price["performance"], "within the frame"
        shapes = {json.dumps(e["scale"]["domain"]): e["scale"]["range"] for e in encodings(spec, "shape")}
        assert all("cross" in shape for shape in shapes.values())
    assert sum(row["kind"] == "price" for row in values(together)) == 2
    assert "Cross: the price, where the signed mean of GenEx comes down to 0" in figures["frontier"].caption
    unpriced = replace(data, frontiers=[replace(f, by_setting={"gen_ex": [], "rel_ex": []}) for f in data.frontiers])
    figure = frontier_figure(unpriced)
    assert "Cross" not in figure.caption
    assert all(row["kind"] != "price" for spec in figure.page_specs() for row in values(spec))


def scales(spec):
    return {json.dumps(e["scale"]["domain"]) for e in encodings(spec, "y") if "scale" in e}


def test_exposures_have_a_scale_for_each_forget_set_and_performance_one_for_all(data):
    """Were one set a hundred times as exposed, the curves of the other would lie flat on its scale."""
    far = [
        {**row, "gen_ex": 100 * row["gen_ex"]} if row["forget_set"] == "people" else row for row in data.trajectories
    ]
    specs = trajectory_figure(replace(data, trajectories=far)).page_specs()
    before = trajectory_figure(data).page_specs()
    of = {"people": [], "verses": []}
    for spec, old in zip(specs, before, strict=True):
        title = spec["title"]
        of[title["text"].partition(" ")[0]].append((title["subtitle"].partition(";")[0], scales(spec), scales(old)))
    assert all(new == old for what, new, old in of["verses"] if what in ("GenEx", "RelEx"))
    assert all(new != old for what, new, old in of["people"] if what == "GenEx")
    assert len({json.dumps(sorted(new)) for own in of.values() for what, new, _ in own if what == "performance"}) == 1


@pytest.mark.parametrize("has_references", [True, False])
def test_the_title_of_a_heatmaps_legend_has_room(data, has_references):
    """A longer line is cut, with an ellipsis."""
    (spec, *_) = heatmap_figure(replace(data, has_references=has_references)).page_specs()
    (color,) = encodings(spec, "color")
    lines = color["legend"]["title"]
    assert max(map(len, lines)) <= 40
    assert lines[1] == "share of the base model's that is left"


def test_a_heatmap_is_a_share_of_what_the_base_model_has_of_the_same_set(data):
    """On one scale of bits, a set that starts at a tenth of another would look unlearned before the first step."""
    low = [
        replace(f, base={**f.base, "unlearning_quality": 1.0}) if f.forget_set == "people" else f
        for f in data.frontiers
    ]
    cells = [
        {**cell, "quality": cell["quality"] / 10} if cell["forget_set"] == "people" else cell for cell in data.heatmap
    ]
    for spec, old in zip(
        heatmap_figure(replace(data, frontiers=low, heatmap=cells)).page_specs(),
        heatmap_figure(data).page_specs(),
        strict=True,
    ):
        shares = [row["share"] for row in values(spec)]
        assert shares == pytest.approx([row["share"] for row in values(old)])
        assert shares == pytest.approx(
            [row["quality"] / (1.0 if row["forget_set"] == "people" else 10.0) for row in values(spec)]
        )
        (color,) = encodings(spec, "color")
        assert (color["field"], color["scale"]["domain"]) == ("share", [0, 1])
    assert "verses 10.0 bits, people 10.0 bits" in heatmap_figure(data).caption


def test_a_heatmap_without_a_base_model_is_a_share_of_the_worst(data):
    bare = replace(data, frontiers=[replace(f, base=None) for f in data.frontiers])
    shares = [row["share"] for spec in heatmap_figure(bare).page_specs() for row in values(spec)]
    assert max(shares) == 1.0


def test_many_examples_are_thinned(data):
    row = data.examples[0].rows[0]
    rows = [{**row, "example_id": str(index)} for index in range(1000)]
    many = Examples(forget_set="verses", trial_id="t", step=5, choice="c", rows=rows)
    figure = examples_figure(type(data)(**{**vars(data), "examples": [many]}))
    assert len(values(figure.page_specs()[0])) <= EXAMPLES_DRAWN
    assert "250 of 1000 examples drawn" in figure.caption


def test_importances_are_shares_of_each_objective(sweep, tmp_path):
    found, notes = importances(write_sweep(tmp_path, make_spec(name="many", search={"trials": 12})))
    assert notes == []
    assert {i.setting for i in found} >= {"step", "optimizer", "adamw lr", "sgd momentum"}
    for forget_set in ("verses", "people"):
        for objective in ("unlearning_quality", "performance"):
            shares = [i.share for i in found if (i.forget_set, i.objective) == (forget_set, objective)]
            assert sum(shares) == pytest.approx(1)


@pytest.mark.filterwarnings("ignore:PedAnova:UserWarning")
def test_importances_are_those_of_the_studies_that_the_search_rebuilds(tmp_path):
    """The slow oracle: the studies that proposed the trials, seeds pooled, by Optuna's own front door."""
    spec = make_spec(name="oracle", seeds=[0, 1], search={"trials": 12})
    ledger = write_sweep(tmp_path, spec)
    found, _ = importances(ledger)
    search = make_search(spec, ledger)
    for forget_set in spec.data.forget_sets:
        pooled = optuna.create_study(directions=["minimize", "minimize"])
        for seed in spec.seeds:
            rebuilt = search.studies[Stratum(forget_set=forget_set, seed=seed).name].study.get_trials(
                states=[TrialState.COMPLETE]
            )
            pooled.add_trials([trial for trial in rebuilt if all(map(math.isfinite, trial.values))])
        for index, objective in enumerate(("unlearning_quality", "performance")):
            expected = get_param_importances(
                pooled, evaluator=PedAnovaImportanceEvaluator(), target=lambda trial, index=index: trial.values[index]
            )
            shares = [i.share for i in found if (i.forget_set, i.objective) == (forget_set, objective)]
            assert sorted(shares) == pytest.approx(sorted(expected.values()))


def test_large_sweeps_tell_importances_of_every_nth_trial_and_say_so(tmp_path, monkeypatch):
    ledger = write_sweep(tmp_path, make_spec(name="large", search={"trials": 12}))
    total = ledger.table("evaluations").num_rows
    monkeypatch.setattr(importances_module, "OBSERVATIONS_READ", -(-total // 2))
    found, notes = importances(ledger)
    assert {i.forget_set for i in found} == {"verses", "people"}
    assert notes == [f"One trial in 2 is counted: {total} evaluations are more than {-(-total // 2)}."]


def test_too_few_trials_have_no_importances_but_a_note(tmp_path):
    ledger = write_sweep(tmp_path, make_spec(name="few", search={"trials": 2}))
    found, notes = importances(ledger)
    assert found == []
    assert len(notes) == 2
    figure = importance_figure(found, notes, ["verses", "people"])
    assert figure.panels == []
    assert "Not computed for verses: 2 settings have results, of 4 needed." in figure.caption


def test_a_number_that_is_not_finite_reaches_no_figure():
    table = pa.table(
        {"unlearning_quality": [1.0, math.inf, 2.0], "performance": [1.0, 1.0, math.nan], "x": [math.nan] * 3}
    )
    assert report_data._finite(table).to_pylist() == [{"unlearning_quality": 1.0, "performance": 1.0, "x": None}]


def test_claims_are_drawn_with_their_intervals_by_unit_and_verdict():
    found = claims_of_tables([invented(World(by_setting=(-1.4,) * 4), 8, 0)], describe=False)
    figure = claims_figure(found, 8)
    assert len({panel.title for panel in figure.panels}) == len(figure.panels) == len(wording.by_unit(found))
    for panel in figure.panels:
        panel.to_dict(validate=True)
        spec = panel.to_dict(validate=False)
        assert all(UNITS.search(x["title"]) for x in encodings(spec, "x") if "title" in x)
        json.dumps(spec, allow_nan=False)
    rows = [row for panel in figure.panels for row in values(panel.to_dict())]
    shown = {row["finding"]: row for row in rows}
    steps = shown["a out needs more steps"]
    assert (steps["verdict"], steps["low"] < steps["effect"] < steps["high"] < 1) == ("contradicted", True)
    assert len(shown) == len(rows) == len(found.decisions)
    scales = [x["scale"] for x in encodings(figure.panels[0].to_dict(), "x") if "scale" in x]
    assert scales == [{"type": "log", "base": 2}]
    assert {"svg", "png"} == set(figure.images())


def test_with_too_few_replicates_the_figure_of_claims_says_what_it_takes():
    figure = claims_figure(None, 1)
    assert not figure.panels
    assert "fewer than 3 replicates, and this sweep has 1" in figure.caption
    same = claims_of_tables([invented(World(spread_steps=0, spread_price=0), 2, 0)], describe=False)
    assert not claims_figure(same, 5).panels
    assert "no finding has an interval" in claims_figure(same, 5).caption
