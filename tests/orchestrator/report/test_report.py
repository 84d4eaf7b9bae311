"""The report's page: what it says, what it hides, and that text of the data stays text. ``test_page`` looks at it."""

import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import PurePosixPath

import pytest

from orchestrator.claims.computing import claims_of_tables
from orchestrator.cli import main
from orchestrator.frontier import frontiers
from orchestrator.frontier.summary import is_same, points_shown
from orchestrator.ledger import DriverWriter, Ledger, TrialWriter, metric_row, open_sweep
from orchestrator.points import chosen_points
from orchestrator.report import write_report
from orchestrator.report.data import read_report_data
from orchestrator.report.page import EXTREMES_SHOWN, draw, render
from orchestrator.spec import dump_spec
from orchestrator.storage import LocalStorage
from tests.orchestrator.claims.inventing import World, invented
from tests.orchestrator.helpers import (
    Crash,
    Driver,
    evaluation_record,
    example_record,
    make_search,
    make_spec,
    make_trial,
    measured,
    of_model,
    outcome,
    write_probe,
    write_sweep,
)
from trainables.records import Status

CANARY = "<script>alert(1)</script><!--"
ESCAPED_MESSAGE = "&lt;script&gt;alert(1)&lt;/script&gt;&lt;!--"
"""How a page shows the canary where it is no example's text, but the message of a trial."""
FIGURES = ("frontier", "trajectories", "heatmap", "examples", "importances")


class Page(HTMLParser):
    """Splits a page into its visible text and its scripts."""

    def __init__(self, text):
        super().__init__()
        self.text, self.scripts, self.links = "", [], []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self._inside = tag
        self.links += [value for name, value in attributes if name in ("src", "href") and tag != "a"]
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data


def publish(ledger, records, status=Status.COMPLETED, *, message=None, **trial):
    made = make_trial(**trial)
    proposal = {"number": 0, "point": {}, "step_index": 0, "notes": {}}
    DriverWriter(ledger).propose(made, number=0, distribution="in", proposal=proposal)
    examples = [example_record(record.step) for record in records]
    TrialWriter(ledger).publish(made.trial_id, records, examples, outcome(status, message=message))
    return made.trial_id


def new_sweep(folder):
    """A sweep without trials, whose only points are those of a space that needs no proposal."""
    spec = make_spec(search={"space": {"batch_size": 4, "learning_rate": 1e-3}})
    ledger = Ledger(storage=LocalStorage(folder / "tiny"), sweep="tiny")
    ledger.manifest.create(dump_spec(spec), {"sweep": "tiny"}, {"started_at": "2026-01-01"})
    return ledger


def page_of(ledger, **options):
    write_report(ledger, **options)
    return Page(ledger.storage.read("report/index.html").decode())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A whole sweep with texts, one of them hostile, and its page."""
    ledger = write_sweep(tmp_path_factory.mktemp("report"), make_spec(name="whole", search={"trials": 8}))
    text = {"forget_set": "verses", "replicate": 0, "example_id": "verses-000000"}
    DriverWriter(ledger).publish_forget_examples([{**text, "prompt": "In the beginning", "completion": CANARY}])
    DriverWriter(ledger).fail(ledger.trials()[0]["trial_id"], CANARY)
    return ledger, page_of(ledger)


def test_the_page_stands_with_png_and_svg_of_each_figure(written):
    ledger, _ = written
    for name in FIGURES:
        assert ledger.storage.read(f"report/{name}.png").startswith(b"\x89PNG")
        assert b"</svg>" in ledger.storage.read(f"report/{name}.svg")


def test_the_page_says_what_the_terminal_says_and_more(written):
    ledger, page = written
    for said in (
        "The price of mean GenEx 0", "matched within 10%", "Pareto points", "Hypervolume", "spec.yaml"[:4],
        f"unlearn-sweep query {ledger.storage.uri}", "PED-ANOVA", "The resolved spec", "sampler: random", "sweep.json",
    ):  # fmt: skip
        assert said in page.text, said


def test_the_page_has_prices_on_its_own_kind_the_floor_and_that_points_are_chosen(written):
    _, page = written
    text = " ".join(page.text.split())
    assert "lost, own kind, never trained, nats/token" in text
    assert "lost, own kind, retained" not in text, "no set has distractors"
    assert "Floor: the reference models, mean and range: |GenEx| 0.50 bits" in text
    assert "Mean RelEx of the reference models themselves, bits: verses 1.10 (1.00 to 1.20), people" in text
    assert text.count("chosen on the same evaluations that they are shown on") == 1


def test_the_page_loads_nothing(written):
    _, page = written
    assert page.links == ["data:,"]


def test_hostile_text_stays_text(written):
    ledger, page = written
    assert page.text.count(CANARY) == 2
    assert not [script for script in page.scripts if script.startswith("alert")]
    raw = ledger.storage.read("report/index.html").decode()
    assert "<script>alert" not in raw
    assert raw.count("<!--") == 0


def test_specifications_in_scripts_cannot_end_them(tmp_path):
    ledger = new_sweep(tmp_path / CANARY.replace("/", "_"))
    publish(ledger, [evaluation_record(step) for step in (0, 2)])
    page = page_of(ledger)
    specifications = [script for script in page.scripts if "$schema" in script and script.startswith("{")]
    assert specifications
    assert all("<" not in script for script in specifications)


def test_redaction_hides_texts_and_keeps_numbers(written):
    ledger, before = written
    page = page_of(ledger, redact=True)
    assert "In the beginning" in before.text
    assert "In the beginning" not in page.text + "".join(page.scripts)
    assert "redacted" in page.text
    assert "verses-000000" in page.text


def test_redaction_reaches_everything_written(written):
    ledger, _ = written
    write_report(ledger, redact=True)
    for path in (*ledger.storage.files("report", ".html"), *ledger.storage.files("report", ".svg")):
        content = ledger.storage.read(path).decode()
        assert "In the beginning" not in content
        assert "alert(1)" not in content.replace(ESCAPED_MESSAGE, ""), path


def test_both_ends_of_the_examples_are_shown_and_no_others(tmp_path):
    ledger = new_sweep(tmp_path)
    trial = make_trial(steps=(2,))
    DriverWriter(ledger).propose(
        trial, number=0, distribution="in", proposal={"number": 0, "point": {}, "step_index": 0, "notes": {}}
    )
    count = 2 * EXTREMES_SHOWN + 3
    examples = [
        replace(example_record(2, f"verses-{index:06d}"), gen_ex=float(count - index)) for index in range(count)
    ]
    TrialWriter(ledger).publish(trial.trial_id, [evaluation_record(2, gen_ex=1.0)], examples, outcome())
    texts = [
        {"forget_set": "verses", "replicate": 0, "example_id": row.example_id, "prompt": "", "completion": "c"}
        for row in examples
    ]
    DriverWriter(ledger).publish_forget_examples(texts)
    section = page_of(ledger, images=False).text.split("Most and least exposed examples")[-1]
    shown = [int(number) for number in re.findall(r"verses-(\d{6})", section)]
    assert shown == [*range(EXTREMES_SHOWN), *range(count - EXTREMES_SHOWN, count)]
    assert "completion" in section
    assert "prompt" not in section.split("Trials that ended")[0], "no example has one"


def test_only_the_examples_that_are_shown_are_read(tmp_path, monkeypatch):
    ledger = write_sweep(tmp_path, make_spec(name="frugal"))
    before = read_report_data(ledger).examples
    shown = {examples.trial_id for examples in before}
    for path in ledger.storage.files("examples", ".parquet"):
        if PurePosixPath(path).stem not in shown:
            ledger.storage.publish(path, b"damaged")
    assert read_report_data(ledger).examples == before
    assert not ledger.storage.files("quarantine/examples", ".parquet")


def test_a_sweep_without_texts_says_nothing_of_them(written_sweeps, tmp_path):
    shutil.copytree(written_sweeps / "second", tmp_path / "second")
    (tmp_path / "second" / "references" / "forget_sets.parquet").unlink()
    page = page_of(open_sweep("second", str(tmp_path)))
    assert "verses-000000" in page.text
    assert "completion" not in page.text.split("Most and least exposed examples")[1].split("Trials that ended")[0]


def test_no_evaluation_at_all(tmp_path):
    page = page_of(new_sweep(tmp_path))
    assert "none yet" in page.text
    assert "No completed evaluation yet" in page.text
    assert page.text.count("Nothing to draw") == len(FIGURES)


def test_one_evaluation(tmp_path):
    ledger = new_sweep(tmp_path)
    trial_id = publish(ledger, [evaluation_record(2, gen_ex=1.0)], steps=(2,))
    page = page_of(ledger)
    assert trial_id in page.text
    assert "verses (in-distribution): 1 Pareto points" in page.text
    assert "1 settings have results, of 4 needed" in page.text


def test_one_seed_has_no_intervals_and_several_have(tmp_path, written):
    _, page = written
    assert "One seed: no intervals" in page.text
    two = page_of(write_sweep(tmp_path, make_spec(name="two", seeds=[0, 1])), images=False)
    assert "95% bootstrap interval over 2 seeds" in two.text


def test_one_forget_set_is_compared_with_none(tmp_path):
    spec = make_spec(name="one", data={"forget_sets": {"verses": {"distribution": "in", "size": 4, "population": 8}}})
    page = page_of(write_sweep(tmp_path, spec), images=False)
    assert "verses (in-distribution)" in page.text
    assert not any("All frontiers on one scale" in script for script in page.scripts)
    assert "matched" not in page.text


def test_a_sweep_that_was_interrupted(tmp_path):
    spec = make_spec(name="cut", search={"trials": 6})
    ledger = Ledger(storage=LocalStorage(tmp_path / "cut"), sweep="cut")
    ledger.manifest.create(dump_spec(spec), {"sweep": "cut"}, {"python": "3.11"})
    with pytest.raises(Crash):
        Driver(make_search(spec, ledger), ledger, crash_after=9).run()
    page = page_of(ledger)
    assert "1 unfinished" in page.text
    assert page.text.count("Nothing to draw") <= 2, "importances and examples may lack something to tell"


def test_without_reference_models_exposure_is_relative(tmp_path):
    ledger = new_sweep(tmp_path)
    publish(ledger, [evaluation_record(s, rel_ex=3.0 - s / 2, quality=abs(1.56 - s / 2)) for s in (0, 2, 5)])
    page = page_of(ledger)
    assert "GenEx is missing: the sweep has no reference models" in page.text
    assert "the mean of the reference models" not in page.text, "there are none"
    assert any("mean |RelEx" in script for script in page.scripts)
    assert not any("mean |GenEx" in script for script in page.scripts)


def test_without_reference_models_no_column_is_empty_and_no_price_is_of_nothing(tmp_path):
    spec = make_spec(name="bare")
    ledger = Ledger(storage=LocalStorage(tmp_path / "bare"), sweep="bare")
    ledger.manifest.create(dump_spec(spec), {"sweep": "bare"}, {"python": "3.11"})
    for name in spec.data.forget_sets:
        records = [evaluation_record(s, rel_ex=3.0 - s / 2, quality=abs(1.56 - s / 2)) for s in (0, 2, 5)]
        publish(ledger, records, forget_set=name)
    base = of_model(evaluation_record(rel_ex=3.0))
    DriverWriter(ledger).publish_baselines(
        [
            metric_row("baselines", {"model": "base", "forget_set": name, "replicate": 0, **base})
            for name in spec.data.forget_sets
        ]
    )
    page = page_of(ledger, images=False)
    said = page.text.partition("Exposure and performance along")[0] + page.text.split("Best points")[-1]
    said = said.partition("Provenance")[0]
    assert "GenEx" not in said.replace("bits of |GenEx| where it was measured", "")
    assert "NOT matched" not in page.text
    assert "The price of mean RelEx 1.44" in page.text
    assert "Ending the exposure (mean RelEx 1.44" in page.text


def test_the_page_opens_with_what_it_costs_and_defines_what_it_measures(written):
    _, page = written
    opening = page.text.partition("What is measured")[0]
    assert "Ending the exposure (mean GenEx 0: as likely as under models that never saw the data) costs" in opening
    assert " ".join(opening.split()).index("Ending the exposure") < opening.index("trials\n")
    definitions = page.text.partition("What is measured")[2].partition("What unlearning costs")[0]
    for name in ("GenEx", "RelEx", "Frontier", "Price, lost", "Floor"):
        assert f"\n{name}" in definitions
    assert "log2 of how many times likelier the model finds it" in definitions


def test_the_pages_points_have_their_settings_and_the_knee_and_the_priced_point_among_them(written):
    ledger, page = written
    for frontier in frontiers(ledger):
        rows = points_shown(frontier)
        assert any(is_same(row, frontier.priced) for row in rows)
        assert frontier.knee is None or any(is_same(row, frontier.knee) for row in rows)
    points = page.text.split("Best points")[-1].partition("Most and least")[0]
    assert re.search(r"(adamw|sgd) lr=", points)
    assert "All settings on this page also have: gradient_ascent · batch 4" in page.text
    assert "Step nearest to the price (p)" in points


def test_forget_sets_are_compared_at_equal_settings_only(tmp_path, written):
    _, page = written
    assert "no setting was run on several forget sets" in page.text.lower()
    spec = make_spec(
        name="grid",
        seeds=[0, 1],
        search={"sampler": "grid", "trials": None, "space": {"batch_size": 4, "learning_rate": [1e-3, 2e-3]}},
    )
    grid = page_of(write_sweep(tmp_path, spec), images=False)
    text = " ".join(grid.text.split())
    assert "The price of mean GenEx 0 at equal settings" in text
    assert "no setting was run on several forget sets" not in text.lower()
    assert "Steps: verses more than people, 2 times" in text
    assert "median steps" not in text


def test_only_collapsed_trials(tmp_path):
    ledger = new_sweep(tmp_path)
    collapsed = [evaluation_record(2, performance=9.0, gen_ex=-50.0, quality=50.0, status=Status.COLLAPSED)]
    publish(ledger, collapsed, Status.COLLAPSED, message="step 2: held-out NLL 9 is above the floor 6")
    page = page_of(ledger)
    assert "No completed evaluation yet" in page.text
    assert "step 2: held-out NLL 9 is above the floor 6" in page.text


def test_numbers_that_are_not_finite_are_left_out(tmp_path):
    ledger = new_sweep(tmp_path)
    records = [
        evaluation_record(0, gen_ex=5.0, quality=5.0),
        evaluation_record(2, gen_ex=float("nan"), quality=float("inf")),
    ]
    publish(ledger, records, Status.DIVERGED)
    page = page_of(ledger)
    assert not any(re.search(r"\bNaN\b|Infinity", script) for script in page.scripts if script.startswith("{"))


def test_the_command_writes_elsewhere(written_sweeps, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["unlearn-sweep", "report", str(written_sweeps / "first"), "--out", "mine.html", "--redact"]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as caught:
        main()
    assert not caught.value.code
    assert capsys.readouterr().out.strip() == str(tmp_path / "mine.html")
    assert (tmp_path / "mine.html").stat().st_size > 100_000
    assert (tmp_path / "mine_files" / "frontier.svg").stat().st_size > 1000
    assert not (written_sweeps / "first" / "report").exists()


def test_points_that_a_user_would_choose_stand_beside_those_that_were_probed(tmp_path):
    ledger = write_sweep(tmp_path, make_spec())
    chosen = {
        frontier.forget_set: {(row["trial_id"], row["step"]) for row in chosen_points(frontier).values()}
        for frontier in frontiers(ledger)
    }
    trial = next(row for row in ledger.trials() if row["forget_set"] == "verses" and row["last_step"] == 9)
    step = next(step for step in (1, 2, 5, 9) if (trial["trial_id"], step) not in chosen["verses"])
    write_probe(ledger, trial, step, [measured()])
    found = {own.forget_set: {one.point for one in own.points} for own in read_report_data(ledger).probed}
    assert found == {**chosen, "verses": {*chosen["verses"], (trial["trial_id"], step)}}


def test_the_claims_of_replicates_stand_beside_their_figure(written_sweeps):
    ledger = open_sweep("first", str(written_sweeps))
    found = claims_of_tables([invented(World(by_setting=(0.5, 0.5, 0.5, -2.5)), 8, 1)], describe=False)
    data = replace(read_report_data(ledger), claims=found, replicates=8)
    page = Page(render(ledger, data, draw(ledger, data), "", redact=False))
    section = page.text.split("Does what the paper found hold here?")[1].split("Best points")[0]
    named = ("out needs more steps", "out loses less: never seen", "NOT matched", "turns with the optimizer")
    for said in (*named, "supported", "not decided"):
        assert said in section
    assert "Claims" in page.text.split("The paper's findings")[0]


def test_one_replicate_decides_nothing_and_the_page_says_what_it_takes(written_sweeps):
    data = read_report_data(open_sweep("first", str(written_sweeps)))
    assert (data.replicates, data.claims) == (1, None)
    assert (
        "this sweep has 1: model, data and forget sets must be drawn anew"
        in page_of(open_sweep("first", str(written_sweeps))).text
    )


def test_three_replicates_are_judged(written_sweeps, monkeypatch):
    monkeypatch.setattr("orchestrator.report.data.replicates_in", lambda ledger: 3)
    data = read_report_data(open_sweep("first", str(written_sweeps)))
    assert data.claims.sweeps == ["first"]
    assert data.claims.survival is None
