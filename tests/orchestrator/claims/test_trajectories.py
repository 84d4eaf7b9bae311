"""Where a trial first gets how far, against the crossings that prices are read at, and against hand-made paths."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.claims.trajectories import Replicate, Trajectory, passages, slope
from orchestrator.frontier.crossings import crossings_of
from orchestrator.ledger import EVALUATIONS, to_table
from tests.support import PROPERTY


def trajectory(exposure, losses=None, *, steps=None, level=0.0, followed_until=None, **more):
    """Make a trajectory of a hand-made path; other fields as given."""
    steps = np.arange(len(exposure), dtype=float) if steps is None else np.array(steps, dtype=float)
    losses = steps / 10 if losses is None else np.array(losses, dtype=float)
    fields = {
        "trial_id": "t", "sweep": "sweep", "replicate": Replicate("a", 0), "forget_set": "verses",
        "distribution": "in", "seed": 0, "setting_id": "s", "settings": "sgd",
        "labels": {"optimizer": "sgd", "batch size": "4", "canary": "", "repetitions": "1", "model": "m"},
    }  # fmt: skip
    return Trajectory(
        **fields | more,
        steps_S=steps,
        exposures={"gen_ex": np.array(exposure, dtype=float), "rel_ex": np.full(len(steps), np.nan)},
        levels={"gen_ex": level, "rel_ex": 1.44},
        losses=dict.fromkeys(("heldout", "never_trained", "retained"), losses),
        decay_steps_S=steps,
        decay_S=losses,
        followed_until=float(steps[-1]) if followed_until is None else followed_until,
    )


PATHS = st.lists(st.tuples(st.integers(-8, 8), st.floats(0, 5)), min_size=2, max_size=8)


@PROPERTY
@given(PATHS)
def test_the_time_and_the_loss_there_are_those_of_the_frontiers_crossing(path):
    path[0] = (abs(path[0][0]) + 1, 0.0)  # exposed, and nothing lost yet
    rows = [
        {"trial_id": "t", "step": step, "gen_ex": float(bits), "performance": 3 + loss, "elapsed_s": 0.0,
         "optimizer": "sgd", "learning_rate": 0.1, "seed": 0, "replicate": 0, "heldout_nll": 3 + loss}
        for step, (bits, loss) in enumerate(path)
    ]  # fmt: skip
    base = {"performance": 3.0, "heldout_nll": 3.0}
    found = crossings_of(to_table(EVALUATIONS, rows), {0: base}, "gen_ex")
    own = trajectory([bits for bits, _ in path], [loss for _, loss in path])
    if not found:
        assert math.isinf(own.time("gen_ex"))
        assert own.farthest("gen_ex", 100) < 1
    else:
        assert own.time("gen_ex") == pytest.approx(found[0].steps)
        assert own.losses_at("gen_ex", "heldout", np.ones(1)) == pytest.approx([found[0].cost])
        assert own.farthest("gen_ex", 100) == 1


def test_as_never_trained_is_the_references_own_level():
    own = trajectory([10, 6, 2, -2, -6], level=-4.0)
    assert own.time("gen_ex") == pytest.approx(3.5)
    assert own.farthest("gen_ex", 2) == pytest.approx(8 / 14)
    assert math.isinf(trajectory([10, 6, 2], level=1.0).time("gen_ex"))


def test_what_is_not_exposed_has_nothing_to_remove():
    own = trajectory([0.5, -1, -2], level=1.0)
    assert own.time("gen_ex") == 0
    assert own.farthest("gen_ex", 2) == 1
    assert own.losses_at("gen_ex", "heldout", np.array([0.3, 1.0])).tolist() == [0, 0]


def test_a_step_that_was_not_measured_is_passed_over():
    own = trajectory([10, math.nan, 0, -5], [0, 1, 2, 3])
    assert own.time("gen_ex") == 2
    assert own.losses_at("gen_ex", "heldout", np.array([0.5, 1.0])) == pytest.approx([1, 2])
    assert len(trajectory([math.nan, 3]).removed("gen_ex")[0]) == 0
    assert math.isinf(trajectory([math.nan, -3]).time("gen_ex"))


def test_a_path_that_turns_back_is_read_where_it_first_passes():
    share = np.array([0.0, 0.6, 0.4, 1.2])
    found = passages(share, np.array([0.0, 6.0, 20.0, 28.0]), np.array([0.3, 0.6, 0.7, 1.3]))
    assert found == pytest.approx([3.0, 6.0, 20 + 8 * 0.3 / 0.8, math.inf])


@PROPERTY
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=9))
def test_the_slope_is_least_squares(loss):
    steps = np.cumsum(np.arange(1, len(loss) + 1)).astype(float)
    assert slope(steps, np.array(loss)) == pytest.approx(np.polyfit(steps, loss, 1)[0], abs=1e-9)


def test_a_slope_needs_two_steps():
    assert slope(np.array([0.0]), np.array([1.0])) is None
    assert slope(np.array([0.0, 1.0, 2.0]), np.array([1.0, math.nan, 3.0])) == 1
