"""What the terminal shows of frontiers: within 80 columns, markers without colour, and honest when there is nothing."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from orchestrator.cli.frontier_plot import HEIGHT, WIDTH, frontier_plot
from orchestrator.cli.frontier_tables import POINTS_IN_SUMMARY, frontier_report, frontier_summary
from orchestrator.frontier.summary import floor_note, point_marks, points_shown, points_title, priced_measures
from tests.orchestrator.frontier.test_frontier import path, row, whole

METRICS = {
    "gen_ex_per_token": 1.0,
    "gen_ex_abs": 5.0,
    "extraction_rate": 0.0,
    "membership_auc": 0.5,
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


def test_what_is_better_higher_is_shown_as_it_is_and_said():
    more = {"forget_quality": 0.25, "model_utility": 0.5}
    rows = [row(1.0, 3.0, step=step, **METRICS | more) for step in (1, 2)]
    own = replace(whole(rows, base=BASE | more, objectives=("forget_quality", "model_utility")), hypervolume=0.125)
    text = frontier_plot([own])
    assert text.splitlines()[0] == "model_utility, against forget_quality; higher is better"
    table = shown(frontier_summary([own]), 120)
    assert "forget_quality x model_utility from (0.250 forget_quality, 0.500 model_utility)" in table
    assert "0.250         0.500  5.00" in table, "in the table of points"
    assert "-0." not in "".join(table.splitlines()[:10])
    mixed = whole(rows, base=BASE | more, objectives=("unlearning_quality", "model_utility"))
    assert "; lower is better, of model_utility higher" in " ".join(frontier_plot([mixed]).split())


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


def test_a_range_of_equal_ends_is_not_written():
    equal = [{**reference, "gen_ex_abs": 7.5} for reference in REFERENCES]
    said = floor_note(whole([row(1.0, 3.0, **METRICS)], base=BASE, references=equal))
    assert "|GenEx| 7.50 bits, GenEx 0.00 (-1.00 to 1.00) bits" in said


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
    assert price.split()[4:] == ["+0.100", "+0.500", "+0.375", "10.00", "5.0", "sgd", "lr=0.1", "1", "of", "1"]
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


NO_REFERENCES = {"gen_ex": None, "gen_ex_abs": None, "gen_ex_per_token": None}


@pytest.mark.parametrize("show", [frontier_report, frontier_summary])
def test_without_reference_models_nothing_is_said_of_generalized_exposure(show):
    """No empty columns, no price of GenEx 0, no floor, and no exposure 'NOT matched' of nothing."""
    base = BASE | NO_REFERENCES
    own = METRICS | NO_REFERENCES
    rows = [row(abs(2.56 - step), 3 + step / 9, step=step, rel_ex=4.0 - step, **own) for step in range(4)]
    text = shown(show([whole(rows, base=base), replace(whole(rows, base=base), forget_set="people")]))
    assert "GenEx" not in text.replace("bits of |GenEx| where it was measured", "")
    assert "Gen-" not in text
    assert "bits/token" not in text
    assert "NOT matched" not in text
    assert " - " not in " ".join(text.splitlines()[4:7]), "no column of the points is empty"
    assert "the price of mean RelEx 1.44" in text
    assert "|RelEx - 1.44|" in text
    assert "reference models" not in text


def test_exposures_that_differ_are_said_not_to_be_matched_and_one_known_is_compared_with_nothing():
    low = replace(curve(), forget_set="people", base=BASE | {"gen_ex_per_token": 0.5})
    assert "verses 1.00, people 0.50 (NOT matched" in " ".join(shown(frontier_report([curve(), low])).split())
    unknown = replace(low, base=BASE | {"gen_ex_per_token": None})
    assert "bits/token: verses" not in shown(frontier_report([curve(), unknown]))


def test_objectives_that_no_column_shows_get_one():
    rows = [row(1.0, 3.0, retain_nll=2.5, **METRICS)]
    text = shown(frontier_report([whole(rows, base=BASE, objectives=("rel_ex", "retain_nll"))]), 100)
    assert "retain_nll" in text
    assert "2.500" in text


def test_one_seed_says_that_it_has_no_interval_and_several_what_they_are():
    assert "one seed: no intervals" in shown(frontier_summary([curve()]))
    rows = [row(5.0, 3.0 + seed, seed=seed, trial_id=f"t{seed}", gen_ex=-1.0 - seed, **METRICS) for seed in (0, 1)]
    text = shown(frontier_summary([whole(rows, base=BASE)]), 200)
    assert "95% bootstrap interval over 2 seeds, 1000 resamples; so few seeds give little more than their range" in text


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
    npo, other = (curve(1, settings=f"npo beta={beta} · sgd lr=0.1 · batch 4") for beta in ("0.5", "0.25"))
    both = shown(frontier_report([npo, other, curve(1, settings="gradient_ascent · sgd lr=0.1 · batch 4")]), 100)
    assert "npo beta=0.5 sgd lr=0.1" in both
    assert "npo beta=0.25 sgd lr=0.1" in both
    assert "gradient_ascent sgd lr=0.1" in both
    assert "settings above also have: batch 4" in both
    assert "settings above also have: npo beta=0.5 · batch 4" in shown(frontier_report([npo]))
    assert "npo" not in shown(frontier_report([curve(1, objective="gradient_ascent")]))


def bent(points=40, knee=11, **more):
    """A frontier of many points with a knee, whose mean GenEx is 0 between two of its steps."""
    rows = [
        row(50.0 - step, 3 + (step / 100 if step <= knee else (step - knee) / 10 + knee / 100), step=step,
            gen_ex=20.5 - step, **METRICS | more)
        for step in range(1, points + 1)
    ]  # fmt: skip
    return whole(rows, base=BASE | {"gen_ex": 20.5})


@pytest.mark.parametrize("most", [4, 5, 8, 12, 39, 40, 100])
@pytest.mark.parametrize("knee", [2, 3, 11, 25, 38])
def test_ends_knee_and_priced_point_are_always_in_the_table(most, knee):
    frontier = bent(knee=knee)
    rows = points_shown(frontier, most)
    steps = [own["step"] for own in rows]
    assert len(steps) == len(set(steps)) == min(most, 40)
    assert steps == sorted(steps, reverse=True), "the least exposed first"
    assert frontier.knee["step"] == knee
    assert {1, 40, knee, 20} <= set(steps)
    assert {"".join(point_marks(frontier, own)): own["step"] for own in rows if point_marks(frontier, own)} == {
        "k": knee,
        "p": 20,
    }


@pytest.mark.parametrize("show", [frontier_report, frontier_summary])
def test_the_knee_is_a_row_of_its_own_table(show):
    text = shown(show([bent()]))
    assert "knee (k): t at step 11" in text
    assert any(line.split()[:5] == ["k", "t", "sgd", "lr=0.1", "11"] for line in text.splitlines())
    assert any(line.split()[:5] == ["p", "t", "sgd", "lr=0.1", "20"] for line in text.splitlines())


def test_a_priced_point_that_others_beat_is_shown_as_one_more():
    rows = [row(9.0 - step, 3 + step / 10, step=step, gen_ex=8.0, **METRICS) for step in range(1, 7)]
    rows += [row(5.5, 9.0, step=3, trial_id="u", gen_ex=-1.0, **METRICS)]
    frontier = whole(rows, base=BASE)
    assert [(own["trial_id"], own["step"]) for own in points_shown(frontier, 4)] == [
        ("t", 6), ("t", 4), ("u", 3), ("t", 3), ("t", 1),
    ]  # fmt: skip
    assert points_title(frontier, 4).endswith(": 4 of 6 Pareto points, and the one nearest to the price")
    assert points_title(frontier).endswith(": 6 Pareto points, and the one nearest to the price")


def test_the_price_is_marked_on_the_plot_and_the_legend_says_whose_it_is():
    frontier = bent()
    lines = frontier_plot([frontier, replace(bent(), forget_set="people", distribution="out")]).splitlines()
    assert "P price of verses: mean GenEx 0, between evaluated steps" in lines
    assert "Q price of people: mean GenEx 0, between evaluated steps" in lines
    canvas = [line for line in lines if line.endswith("│")]
    assert sum(line.count("P") + line.count("Q") for line in canvas) >= 1
    other = whole(list(frontier.points), base=BASE, objectives=("rel_ex", "performance"))
    assert "price of" not in frontier_plot([other])
    assert "price of" not in frontier_plot([curve(3)])


@pytest.mark.parametrize("show", [frontier_report, frontier_summary])
def test_what_a_price_is_beside_the_frontier_is_said_in_place(show):
    text = " ".join(shown(show([bent()])).split())
    assert "price is read where the signed mean of GenEx over the examples comes down to 0, between two eval" in text
    assert "not in the mean |GenEx| at evaluated steps that the frontiers show" in text
    assert text.count("a price is read where") == 1


def shared(costs, *, own_kind=1.0):
    """Forget sets by name: of each, what it costs by (setting, seed)."""
    found = []
    for name, by_trial in costs.items():
        rows = [
            own | METRICS | {"population_nll": 2.0 + own_kind * (own["step"] / 20)}
            for (setting, seed), cost in by_trial.items()
            for own in path(f"{setting}{seed}", f"gradient_ascent · adamw lr={setting} · batch 4", cost, seed=seed)
        ]
        found.append(replace(whole(rows, base=BASE | {"population_nll": 2.0}), forget_set=name))
    return found


@pytest.mark.parametrize("show", [frontier_report, frontier_summary])
def test_settings_that_would_fold_within_words_are_numbered_and_listed_below(show):
    long = [f"npo beta=0.5 retain_weight={weight} · sgd lr=0.1 · batch 4" for weight in ("0.5", "1.0")]
    rows = [
        row(20.0 - step, 3 + step / 10, step=step, settings=long[step % 2], **METRICS | OWN_KIND) for step in range(8)
    ]
    text = shown(show([whole(rows, base=BASE | OWN_KIND)]))
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= 80
    assert lines.count("settings 1: retain_weight=1 sgd lr=0.1") == 1
    assert lines.count("settings 2: retain_weight=0.5 sgd lr=0.1") == 1
    points = lines[1 + next(index for index, line in enumerate(lines) if line.startswith("─")) :][: len(rows)]
    assert [line.split()[1:3] for line in points] == [[str(1 + index % 2), str(7 - index)] for index in range(8)]


def test_a_price_that_no_trial_gets_to_has_no_columns_of_nothing():
    text = " ".join(
        shown(frontier_summary([replace(curve(gen_ex=5.0), forget_set=name) for name in ("one", "other")])).split()
    )
    price = text.split("the price of mean GenEx 0")[1].split("the price of")[0]
    assert "is reached by one: 0 of 1 trials other: 0 of 1 trials" in price
    assert "seeds" not in price
    assert "lost" not in price


def test_that_no_setting_is_shared_is_said_once():
    one, other = (
        replace(curve(settings=f"gradient_ascent · sgd lr={rate} · batch 4", setting_id=rate), forget_set=rate)
        for rate in ("0.1", "0.2")
    )
    assert priced_measures([one, other]) == ["gen_ex", "rel_ex"]
    assert shown(frontier_report([one, other])).count("no setting was run on several") == 1


def test_forget_sets_stand_side_by_side_at_equal_settings_only():
    costs = {
        "verses": {("0.1", 0): 0.4, ("0.1", 1): 0.5, ("0.2", 0): 0.3, ("0.5", 0): 0.01},
        "people": {("0.1", 0): 0.1, ("0.1", 1): 0.2, ("0.2", 0): 0.1},
    }
    text = shown(frontier_report(shared(costs)))
    assert max(map(len, text.splitlines())) <= 80
    table = text.split("the price of mean GenEx 0 at equal settings")[1].split("the price of mean RelEx")[0]
    assert "+0.450 (0.400 to 0.500)" in table
    assert "+0.150 (0.100 to 0.200)" in table
    assert "lr=0.5" not in table, "nobody else was unlearned with it"
    assert "lost on held-out data: verses more than people, 3 times" in " ".join(table.split())
    assert "steps: no order of verses and people holds" in table


def test_settings_that_end_the_exposure_of_no_set_are_not_set_side_by_side():
    rows = [row(9.0, 3.0, step=4, gen_ex=9.0, settings="a · b lr=1", setting_id="i", **METRICS)]
    sets = [replace(whole(rows, base=BASE), forget_set=name) for name in ("verses", "people")]
    text = shown(frontier_report(sets))
    assert "at equal settings" not in text
    assert "no setting was run" not in text


def test_no_setting_in_common_is_said_and_compared_by_nothing():
    text = shown(frontier_report(shared({"verses": {("0.1", 0): 0.4}, "people": {("0.3", 0): 0.1}})))
    assert "no setting was run on several forget sets" in text
    assert "more than" not in text
    assert "median" not in text
    assert "no setting was run" not in shown(frontier_report([curve()]))


def test_the_last_sentence_answers_what_it_costs():
    people = shared({"people": {("0.1", 0): 0.016}})[0]
    lines = shown(frontier_summary([bent(), people, replace(curve(), forget_set="rest")]), 500).splitlines()
    assert lines[-1] == (
        "Ending the exposure (mean GenEx 0: as likely as under models that never saw the data) costs, by the best "
        "setting that was run: for verses +1.1 nats/token on held-out data, at step 20; for people +0.016 "
        "nats/token on held-out data, +0.5 on never-trained data of its own kind, at step 10; for rest more than "
        "was tried, since no trial gets there without collapsing: at best 1.0 of 10.0 bits of |GenEx| are left."
    )
