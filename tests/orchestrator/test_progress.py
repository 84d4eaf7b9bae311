"""Progress as plain lines, with a clock of our own; and tables of what is empty."""

from io import StringIO

import pytest
from rich.console import Console

from orchestrator.frontier import frontier_of, frontiers
from orchestrator.frontier_tables import frontier_report
from orchestrator.progress import LINE_EVERY_S, RunProgress, duration
from orchestrator.schema import EVALUATIONS
from orchestrator.sweeps import open_sweep


@pytest.fixture
def watched():
    class Clock:
        now = 100.0

        def __call__(self):
            return self.now

    clock, text = Clock(), StringIO()
    return RunProgress(Console(file=text, width=160), clock=clock), clock, text


def test_lines_where_there_is_no_terminal(watched):
    progress, clock, text = watched
    with progress.live():
        progress.preparing(["base", "reference-0"])
        progress.model_ready("base")
        progress.model_ready("reference-0")
        progress.shared("2 trials share a GPU")
        progress.sweeping(total=4, ended=1, concurrent=2)
        progress.evaluated(forget_set="verses", evaluation={})
        clock.now += LINE_EVERY_S
        progress.trial_ended(status="completed")
    assert text.getvalue().splitlines() == [
        "models 1/2  base ready",
        "models 2/2  reference-0 ready",
        "2 trials share a GPU",
        "trials 1/4  2 at once",
        "trials 2/4  1 evaluations  1 completed  about 20 s left",
    ]


def test_lines_do_not_come_faster_than_they_should(watched):
    progress, clock, text = watched
    progress.sweeping(total=100, ended=0, concurrent=1)
    for _ in range(30):
        clock.now += LINE_EVERY_S / 10
        progress.evaluated(forget_set="verses", evaluation={})
    assert len(text.getvalue().splitlines()) == 1 + 3


def test_the_estimate_counts_only_this_run(watched):
    progress, clock, _ = watched
    progress.sweeping(total=10, ended=6, concurrent=1)
    assert progress.eta_s() is None
    clock.now += 30
    progress.trial_ended(status="completed")
    assert progress.eta_s() == pytest.approx(90)
    progress.trial_ended(status="diverged")
    assert progress.eta_s() == pytest.approx(30)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (3599.7, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def shown(renderable):
    text = StringIO()
    Console(file=text, width=200).print(renderable)
    return text.getvalue()


def test_an_empty_frontier_is_shown():
    empty = frontier_of(
        EVALUATIONS.empty_table(), forget_set="v", distribution="in", base=None, references=[], performance_floor=3.0
    )
    assert "no completed evaluation yet" in shown(frontier_report([empty]))
    assert "What unlearning costs is not known yet" in shown(frontier_report([]))


def test_frontiers_are_shown(written_sweeps):
    text = shown(frontier_report(frontiers(open_sweep("first", str(written_sweeps)))))
    assert "verses (in-distribution)" in text
    assert "people (out-of-distribution)" in text
