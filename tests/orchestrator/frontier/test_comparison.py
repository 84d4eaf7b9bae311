"""Forget sets at equal settings: what is compared, and that an order is claimed only where nothing turns it round."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.frontier.comparison import MARGIN, orders, orders_title, quantities, shared_settings
from tests.orchestrator.frontier.test_frontier import path, row, whole
from tests.support import PROPERTY

HELDOUT = "lost on held-out data"


def sets(costs):
    """Forget sets by name: of each, what it costs by setting and seed; without a cost, the trial stays exposed."""
    return [
        replace(
            whole(
                [
                    own
                    for setting, by_seed in by_setting.items()
                    for seed, cost in enumerate(by_seed)
                    for own in path(f"{setting}/{seed}", setting, *([] if cost is None else [cost]), seed=seed)
                ],
                base=row(10.0, 3.0, gen_ex=10.0),
            ),
            forget_set=name,
        )
        for name, by_setting in costs.items()
    ]


def said(costs):
    return [line for line in orders(shared_settings(sets(costs), "gen_ex")) if line.startswith(HELDOUT)]


def test_only_settings_of_several_sets_are_shared_in_the_order_of_their_numbers():
    costs = {"a": {"lr=1e-05": [1.0], "lr=0.0002": [1.0], "lr=10": [1.0]}, "b": {"lr=0.0002": [1.0], "lr=1e-05": [1.0]}}
    assert [own.settings for own in shared_settings(sets(costs), "gen_ex")] == ["lr=1e-05", "lr=0.0002"]
    assert quantities(shared_settings(sets(costs), "gen_ex")) == ["steps", "performance"]
    assert shared_settings(sets({"a": {"x": [1.0]}}), "gen_ex") == []
    assert quantities([]) == orders([]) == []


def test_an_order_holds_at_every_setting_and_seed_and_says_how_many_times():
    costs = {"a": {"x": [0.4, 0.6], "y": [0.9]}, "b": {"x": [0.1, 0.1], "y": [0.3]}}
    assert said(costs) == [f"{HELDOUT}: a more than b, 3 to 5 times"]
    assert said(dict(reversed(costs.items()))) == said(costs)
    assert "each of the 2 settings" in orders_title(shared_settings(sets(costs), "gen_ex"))


@pytest.mark.parametrize(
    ("of_a", "of_b"),
    [
        ({"x": [0.4], "y": [0.1]}, {"x": [0.1], "y": [0.4]}),  # settings disagree
        ({"x": [0.4, 0.1]}, {"x": [0.1, 0.1]}),  # seeds disagree
        ({"x": [0.306]}, {"x": [0.255]}),  # what another processor turned round
        ({"x": [0.4]}, {"x": [0.4]}),
        ({"x": [-0.1]}, {"x": [-0.4]}),  # neither costs anything
    ],
)
def test_no_order_is_claimed_where_something_turns_it_round(of_a, of_b):
    assert said({"a": of_a, "b": of_b}) == [f"{HELDOUT}: no order of a and b holds"]


def test_what_gains_costs_less_than_what_loses_without_a_ratio():
    assert said({"a": {"x": [0.4]}, "b": {"x": [-0.1]}}) == [f"{HELDOUT}: a more than b"]


def test_settings_that_some_seeds_do_not_end_the_exposure_with_are_not_compared():
    costs = {"a": {"x": [0.4, 0.4], "y": [0.1, None]}, "b": {"x": [0.1, 0.1], "y": [0.4, 0.4]}}
    assert said(costs) == [f"{HELDOUT}: a more than b, 4 times"]
    assert "the setting at which" in orders_title(shared_settings(sets(costs), "gen_ex"))
    assert said({"a": {"x": [None]}, "b": {"x": [0.4]}}) == []


COSTS = st.lists(st.lists(st.floats(-1.0, 10.0), min_size=2, max_size=2), min_size=2, max_size=2)


@PROPERTY
@given(COSTS, COSTS)
def test_a_claimed_order_survives_any_change_by_less_than_the_margin(of_a, of_b):
    costs = {"a": dict(zip("xy", of_a, strict=True)), "b": dict(zip("xy", of_b, strict=True))}
    (line,) = said(costs)
    for more, less in (("a", "b"), ("b", "a")):
        if f"{more} more than {less}" in line:
            for setting in "xy":
                assert min(costs[more][setting]) > 0
                assert min(costs[more][setting]) / MARGIN >= max(costs[less][setting]) - 1e-6
