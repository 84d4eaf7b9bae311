"""What the terminal shows of frontiers: within 80 columns, markers without colour, and honest when there is nothing."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from orchestrator.frontier_plot import HEIGHT, WIDTH, frontier_plot
from orchestrator.frontier_tables import POINTS_IN_SUMMARY, frontier_report, frontier_summary
from orchestrator.summary import floor_note
from tests.orchestrator.test_frontier import row, whole

METRICS = {
    "gen_ex_per_token": 1.0,
    "gen_ex_abs": 5.0,
    "extraction_rate": 0.0,
    "membership_auc": 0.5,
    "heldout_nll": 3.0,
}
BASE = row(10.0, 3.0, gen_ex=10.0, rel_ex=5.0, **METRICS)


def curve(points=20, **more):
    rows = [row(points - step, 3 + step / 10, step=step, **METRICS | more) for step in range(points)]
    return whole(rows, base=BASE)


def frontier(forget_set, distribution, **more):
    return replace(curve(**more), forget_set=forget_set, distribution=distribution)


def shown(renderable, width=80):
    console = Console(width=width, file=StringIO())
    console.print(renderable)
    return console.file.getvalue()


def test_the_plot_tells_distributions_apart_without_colour():
    text = frontier_plot([frontier("verses", "in"), frontier("people", "out"), frontier("more", "out")])
    lines = text.splitlines()
    assert lines[0] == "performance [nats/token], against unlearning_quality [bits]; lower is better"
    assert lines[1] == "o verses (in-distribution)   x people (out-of-distribution)   * more (out-of-distribution)"
    assert len(lines) <= HEIGHT + 2 <= 15
    assert max(map(len, lines[2:])) <= WIDTH < 80
    assert "\x1b" not in text
    assert "*" in "".join(lines[2:])


@pytest.mark.parametrize("points", [1, 2, 6])
def test_every_point_is_drawn(points):
    text = frontier_plot([curve(points)])
    canvas = "\n".join(line for line in text.splitlines()[2:] if "│" in line)
    assert canvas.count("o") == points


def test_no_point_is_said():
    assert frontier_plot([]) == frontier_plot([whole([])]) == "nothing to plot: no frontier has a point yet"
    assert "nothing to plot" in shown(frontier_summary([whole([])]))
    assert "no completed evaluation yet" in shown(frontier_report([whole([])]))


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("show", [frontier_report, frontier_summary])
def test_it_fits_the_terminal(show, width):
    text = shown(show([frontier("verses", "in"), frontier("personal_data", "out")]), width)
    assert max(map(len, text.splitlines())) <= width
    assert "personal_data (out-of-distribution)" in text
    assert "the price of mean GenEx 0" in text


OWN_KIND = {"population_nll": 2.5, "distractor_nll": 1.5}
REFERENCES = [
    row(q, 3.1, gen_ex=g, rel_ex=r, **METRICS | {"gen_ex_abs": q}) for q, g, r in ((7.0, -1.0, 0.99), (8.0, 1.0, 1.17))
]


@pytest.mark.parametrize("show", [frontier_report, frontier_summary])
def test_the_floor_and_its_spread_are_printed_and_drawn(show):
    rows = [row(20.0 - step, 3 + step / 10, step=step, **METRICS) for step in range(20)]
    text = shown(show([whole(rows, base=BASE, references=REFERENCES)]))
    said = " ".join(text.split())
    assert "|GenEx| 7.50 (7.00 to 8.00) bits, GenEx 0.00 (-1.00 to 1.00) bits, RelEx 1.08 (0.99 to 1.17) bits" in said
    assert "(1.44 in theory)" in said
    assert "mean RelEx of the reference models themselves, bits: verses 1.08 (0.99 to 1.17)" in said
    assert "| floor of verses: its reference models' mean" in text
    canvas = [line for line in text.splitlines() if line.endswith("│")]
    assert sum("|" in line for line in canvas) >= len(canvas) - 1, "a point may stand on it"


def test_why_a_floor_is_not_known_is_said():
    one = whole([row(1.0, 3.0)], base=BASE, references=[{**REFERENCES[0], "gen_ex": None, "gen_ex_abs": None}])
    assert "of GenEx not known: there is one only" in floor_note(one)
    assert floor_note(whole([row(1.0, 3.0)], base=BASE)) == ""


def test_prices_on_data_of_its_own_kind_stand_beside_the_price():
    ends = {"population_nll": 3.5, "distractor_nll": 2.25}
    rows = [
        row(10.0, 3.0, step=0, gen_ex=10.0, **METRICS | OWN_KIND),
        row(10.0, 3.2, step=10, gen_ex=-10.0, **METRICS | ends),
    ]
    people = replace(whole(rows, base=BASE | OWN_KIND), forget_set="personal_data")
    text = shown(frontier_report([people]))
    assert max(map(len, text.splitlines())) <= 80
    price = next(line for line in text.splitlines() if line.startswith("personal_data 1 of 1"))
    assert price.split()[4:7] == ["+0.100", "+0.500", "+0.375"]
    assert "on its own kind 2.500 never trained and 1.500 retained" in " ".join(text.split())
    none = shown(frontier_report([curve()]))
    assert "never\n" not in none
    assert "held-" in none


def test_that_points_are_chosen_on_what_is_shown_is_said_once():
    for show in (frontier_report, frontier_summary):
        text = " ".join(shown(show([frontier("verses", "in"), frontier("people", "out")])).split())
        assert text.count("chosen on the same evaluations that they are shown on") == 1
    assert "chosen on" not in shown(frontier_report([whole([])]))


def test_a_target_below_the_floor_is_marked():
    text = shown(frontier_report([whole([row(1.0, 3.0, **METRICS)], references=REFERENCES, exposures_at_most=[2.0])]))
    assert "2*" in text
    assert "* below the floor: the reference models have 7.50 on average" in text


def test_a_signed_objective_shows_its_distance_and_says_to_what():
    rows = [row(1.0, 3.0, rel_ex=3.08, **METRICS)]
    text = shown(frontier_report([whole(rows, references=REFERENCES, objectives=("rel_ex", "performance"))]))
    assert "rel_ex, distance to 1.08 [bits]" in text
    assert "distance" in text.split("verses: what reaches")[0]
    assert " 2.000 " in text


def test_the_end_of_a_run_is_shorter():
    full, short = shown(frontier_report([curve()])), shown(frontier_summary([curve()]))
    assert "12 of 20 Pareto points" in full
    assert f"{POINTS_IN_SUMMARY} of 20 Pareto points" in short
    assert "what reaches a given unlearning_quality" in full
    assert "what reaches a given" not in short


def test_what_was_not_exposed_is_said_so():
    base = BASE | {"gen_ex": -0.5}
    text = shown(frontier_summary([whole([row(1.0, 3.0, gen_ex=-1.0, **METRICS)], base=base)]))
    assert "was not exposed" in text
    assert "0 of 1" in text  # by RelEx it was, and stays so


def test_what_was_not_measured_is_said_so():
    base = BASE | {"gen_ex": None}
    text = shown(frontier_summary([whole([row(1.0, 3.0, **METRICS | {"gen_ex": None})], base=base)]))
    assert "verses     not measured" in text


def test_objectives_that_no_column_shows_get_one():
    rows = [row(1.0, 3.0, retain_nll=2.5, **METRICS)]
    text = shown(frontier_report([whole(rows, base=BASE, objectives=("rel_ex", "retain_nll"))]), 100)
    assert "retain_nll" in text
    assert "2.500" in text


def test_one_seed_says_that_it_has_no_interval_and_several_what_they_are():
    assert "one seed: no intervals" in shown(frontier_summary([curve()]))
    rows = [row(5.0, 3.0 + seed, seed=seed, trial_id=f"t{seed}", gen_ex=-1.0 - seed, **METRICS) for seed in (0, 1)]
    text = shown(frontier_summary([whole(rows, base=BASE)]), 200)
    assert (
        "95% bootstrap intervals over 2 seeds, 1000 resamples; so few seeds give little more than their range" in text
    )
    assert "sgd 1 (1-1)" in text


def test_seeds_that_agree_have_no_interval_and_the_reason_is_said():
    rows = [row(5.0, 3.0, seed=seed, trial_id=f"t{seed}", gen_ex=-1.0, **METRICS) for seed in (0, 1, 2)]
    text = " ".join(shown(frontier_summary([whole(rows, base=BASE)])).split())
    assert "no intervals: the seeds of verses give the same numbers but for rounding" in text
    assert "bootstrap" not in text


def test_what_an_encoder_decoder_writes_is_compared_with_copying():
    plain = shown(frontier_report([curve(3)]))
    assert "BLEU" not in plain
    written = replace(
        curve(3, bleu=7.6), base={**BASE, "bleu": 9.1, "chrf": 20.0}, copying={"bleu": 36.7, "chrf": 55.5}
    )
    text = " ".join(shown(frontier_report([written])).split())
    assert "base model: BLEU 9.1, chrF 20.0; copying the sources: BLEU 36.7, chrF 55.5" in text
    assert text.count(" 7.6") == 3


def test_a_point_says_its_objective_unless_it_is_plain_ascent():
    assert "npo sgd 0.1" in shown(frontier_report([curve(1, objective="npo")]))
    assert "npo" not in shown(frontier_report([curve(1, objective="gradient_ascent")]))
