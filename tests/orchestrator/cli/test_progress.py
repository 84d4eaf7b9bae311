"""Progress as plain lines, with a clock of our own; and tables of what is empty."""

import os
import signal
from dataclasses import replace
from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.text import Text

from orchestrator.cli.frontier_tables import frontier_report
from orchestrator.cli.progress import LINE_EVERY_S, RunProgress
from orchestrator.driver import Interrupt, catch_signals
from orchestrator.durations import duration
from orchestrator.frontier import frontiers
from orchestrator.frontier.computing import frontier_of
from orchestrator.ledger import EVALUATIONS, open_sweep
from orchestrator.preparation import ModelTask
from orchestrator.run.executors.ray_executor import watch_training
from tests.support import FakeClock
from trainables.preparation import REPORTED_EVERY_S, TrainingState


@pytest.fixture
def watched():
    class Clock:
        now = 100.0

        def __call__(self):
            return self.now

    clock, text = Clock(), StringIO()
    return RunProgress(Console(file=text, width=160), Console(file=StringIO()), clock=clock), clock, text


def test_whoever_waits_for_the_trials_to_begin_is_told():
    began = []
    made = RunProgress(Console(file=StringIO()), Console(file=StringIO()), on_trials=lambda: began.append(True))
    made.preparing(["base"])
    assert not began
    made.sweeping(total=4, ended=0, concurrent=2)
    assert began == [True]


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
        "models 0/2  base, reference-0",
        "models 1/2  base ready",
        "models 2/2  reference-0 ready",
        "2 trials share a GPU",
        "trials 1/4  2 at once",
        "trials 2/4  1 evaluation  1 completed  about 20 s left",
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_what_goes_on_is_a_message_where_there_is_no_terminal(terminal):
    results, messages = StringIO(), StringIO()
    progress = RunProgress(Console(file=results, force_terminal=terminal), Console(file=messages))
    with progress.live():
        progress.doing("starting Ray")
    assert ("starting Ray" in results.getvalue(), messages.getvalue()) == (
        terminal,
        "" if terminal else "starting Ray\n",
    )


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


def test_a_stopped_trial_is_not_done(watched):
    progress, clock, text = watched
    progress.sweeping(total=4, ended=0, concurrent=2)
    for status in ("completed", "stopped"):
        clock.now += LINE_EVERY_S
        progress.trial_ended(status=status)
    assert text.getvalue().splitlines()[-1].startswith("trials 1/4  0 evaluations  1 completed, 1 stopped")


def test_training_shows_how_far_it_is(watched):
    progress, clock, text = watched
    progress.preparing(["base"])
    state = TrainingState(step=60, steps=240, epochs=12, loss=2.104, left_s=40.2)
    for _ in range(30):
        clock.now += LINE_EVERY_S / 10
        progress.training({"base": state, "reference-0": replace(state, loss=None, left_s=None)})
    assert text.getvalue().splitlines()[1:] == 3 * [
        "models 0/1  training base: epoch 4/12, step 60/240, loss 2.10, about 40 s left; "
        "training reference-0: epoch 4/12, step 60/240"
    ]


def test_a_failure_is_one_line_and_the_same_one_is_told_once(watched):
    progress, _, text = watched
    progress.sweeping(total=9, ended=0, concurrent=1)
    progress.trial_retried(trial_id="a" * 16, message="OSError: gone\nTraceback\n" + "a frame\n" * 70)
    for trial_id in ("a" * 16, "b" * 16):
        progress.trial_failed(trial_id=trial_id, message="OSError: gone")
    assert text.getvalue().splitlines()[1:] == [
        f"trial {'a' * 16} resumes from its checkpoint: OSError: gone",
        f"trial {'a' * 16} failed: OSError: gone",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_counts_are_whole_on_a_terminal(width):
    text = StringIO()
    console = Console(file=text, width=width, force_terminal=True)
    progress = RunProgress(console, Console(file=StringIO()), clock=lambda: 100.0)
    progress.sweeping(total=400, ended=120, concurrent=4)
    for status in ("collapsed", "completed", "diverged", "failed", "stopped"):
        for _ in range(10):
            progress.trial_ended(status=status)
    for _ in range(1234):
        progress.evaluated(forget_set="verses", evaluation={})
    shown_now = StringIO()
    Console(file=shown_now, width=width, force_terminal=True).print(progress._bar)
    plain = " ".join(Text.from_ansi(shown_now.getvalue()).plain.split())
    for part in ("160/400", "1234 evaluations", "10 collapsed,", "10 completed,", "10 diverged,", "10 failed,"):
        assert part in plain, plain
    assert "10 stopped" in plain


@pytest.mark.parametrize(
    ("width", "column"), [(80, "reference-0: step 83/272, loss 4.79"), (120, "reference-0: epoch 3/8, ")]
)
def test_each_model_in_training_has_a_line_of_its_own_on_a_terminal(width, column):
    text = StringIO()
    progress = RunProgress(
        Console(file=text, width=width, force_terminal=True), Console(file=StringIO()), clock=lambda: 100.0
    )
    progress.preparing(["base", "reference-0"])
    state = TrainingState(step=83, steps=272, epochs=8, loss=4.79, left_s=34)
    progress.training({"base": state, "reference-0": state})
    shown_now = StringIO()
    Console(file=shown_now, width=width, force_terminal=True).print(progress._bar)
    lines = Text.from_ansi(shown_now.getvalue()).plain.splitlines()
    assert len(lines) == 2
    assert all(line.rstrip().endswith("about 34 s left") for line in lines), lines
    assert column in lines[1]


def test_the_time_left_is_not_folded_on_a_narrow_terminal():
    text, times = StringIO(), iter([100.0, 100.0, 100.0])
    progress = RunProgress(
        Console(file=text, width=80, force_terminal=True), Console(file=StringIO()), clock=lambda: next(times, 177.0)
    )
    progress.sweeping(total=16, ended=0, concurrent=2)
    for status in 2 * ["collapsed"] + 5 * ["completed"]:
        progress.trial_ended(status=status)
    shown_now = StringIO()
    Console(file=shown_now, width=80, force_terminal=True).print(progress._bar)
    lines = Text.from_ansi(shown_now.getvalue()).plain.splitlines()
    assert [line.split("  ")[-1].strip() for line in map(str.rstrip, lines)] == [
        "about 1 min 39 s left", "2 collapsed, 5 completed",
    ]  # fmt: skip


@pytest.mark.parametrize("models", [1, 2, 5])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_what_a_signal_is_told_stays_clear_of_the_bar(width, models, capfd):
    """The bar erases the lines that it took, upwards from the cursor, when it is drawn again."""
    progress = RunProgress(
        Console(file=StringIO(), width=width, force_terminal=True), Console(file=StringIO()), clock=lambda: 100.0
    )
    with catch_signals(Interrupt()), progress.live():
        progress.preparing(["base"])
        state = TrainingState(step=1083, steps=4272, epochs=8, loss=4.79, left_s=340)
        progress.training({f"reference-{index}": state for index in range(models)})
        os.kill(os.getpid(), signal.SIGINT)
        said = capfd.readouterr().err
        bar = StringIO()
        Console(file=bar, width=width, force_terminal=True).print(progress._bar)
    erased = len(bar.getvalue().splitlines()) - 1
    assert erased >= models - 1
    assert len(said) - len(said.rstrip("\n")) > erased


def test_what_is_said_on_a_terminal_folds_between_words():
    text = StringIO()
    progress = RunProgress(
        Console(file=text, width=40, force_terminal=True), Console(file=StringIO()), clock=lambda: 100.0
    )
    said = "the base model has memorized " + 8 * "verses and numbers "
    progress.shared(said.strip())
    lines = Text.from_ansi(text.getvalue()).plain.splitlines()
    assert len(lines) > 1
    assert " ".join(line.strip() for line in lines) == said.strip()


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
        EVALUATIONS.empty_table(), forget_set="v", distribution="in", bases={}, references=[], performance_floor=3.0
    )
    assert "no completed evaluation yet" in shown(frontier_report([empty]))
    assert "What unlearning costs is not known yet" in shown(frontier_report([]))


def test_frontiers_are_shown(written_sweeps):
    text = shown(frontier_report(frontiers(open_sweep("first", str(written_sweeps)))))
    assert "verses (in-distribution)" in text
    assert "people (out-of-distribution)" in text


def test_a_run_that_waits_for_models_tells_how_far_they_are_every_few_seconds():
    clock, told = FakeClock(), []
    known = {"a": TrainingState(step=1, steps=8, epochs=2, loss=2.5, left_s=None)}
    models = SimpleNamespace(cache=SimpleNamespace(training_state=known.get))
    tasks = [ModelTask(role=f"role of {key}", seed=0, key=key) for key in ("a", "b")]
    look = watch_training(models, tasks, SimpleNamespace(training=told.append), clock=clock)
    for _ in range(8):
        look()
        clock.now += REPORTED_EVERY_S / 4
    assert told == [{"role of a": known["a"]}]
