"""Where the time of a trial goes: every second counts for one part."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import FakeClock
from trainables.records import TIMES
from trainables.trial.stopwatch import Part, Stopwatch

PARTS = st.sampled_from(sorted(TIMES))
TICKS = st.floats(0, 1e3)
BLOCKS = st.recursive(
    st.tuples(PARTS, TICKS, st.just(())),
    lambda inner: st.tuples(PARTS, TICKS, st.lists(inner, max_size=3).map(tuple)),
    max_leaves=8,
)
"""(part, seconds of its own, blocks within it)."""


def test_every_part_has_a_column():
    assert get_args(Part) == tuple(TIMES)


@given(st.lists(BLOCKS, max_size=4))
def test_a_second_counts_once_for_the_innermost_part_and_time_between_for_none(blocks):
    clock, expected = FakeClock(now=50.0), dict.fromkeys(TIMES, 0.0)
    stopwatch = Stopwatch(clock)

    def spend(block):
        part, seconds, inner = block
        with stopwatch.counting(part):
            clock.now += seconds / 2
            for one in inner:
                spend(one)
            clock.now += seconds / 2
        expected[part] += seconds

    for block in blocks:
        spend(block)
        clock.now += 7.0
    assert stopwatch.seconds == pytest.approx(expected)


def test_what_is_read_within_a_block_is_up_to_now_and_an_exception_ends_the_block():
    clock = FakeClock()
    stopwatch = Stopwatch(clock)
    stopwatch.add({"step_s": 2.0})
    with pytest.raises(ZeroDivisionError), stopwatch.counting("step_s"):
        clock.now += 3.0
        assert stopwatch.seconds["step_s"] == 5.0
        raise ZeroDivisionError
    clock.now += 11.0
    assert stopwatch.seconds == dict.fromkeys(TIMES, 0.0) | {"step_s": 5.0}
