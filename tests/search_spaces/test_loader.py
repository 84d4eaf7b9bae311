"""YAML in: what a space may say, and what every mistake is answered with."""

import pytest
import yaml

from search_spaces import Choice, Fixed, Integer, Real, Space, SpaceError, parse_space


def parse(text):
    return parse_space(yaml.safe_load(text), "search.space")


def test_a_scalar_is_fixed():
    assert parse("{a: adamw, b: 3, c: 0.5, d: true, e: null}").dimensions == {
        "a": Fixed(value="adamw"),
        "b": Fixed(value=3),
        "c": Fixed(value=0.5),
        "d": Fixed(value=True),
        "e": Fixed(value=None),
    }


def test_a_real_range():
    assert parse("lr: {low: 1.0e-5, high: 1.0e-3, log: true, grid_points: 3}").dimensions["lr"] == Real(
        low=1e-5, high=1e-3, log=True, grid_points=3
    )


def test_integers_make_an_integer_range():
    assert parse("batch: {low: 2, high: 8, log: true}").dimensions["batch"] == Integer(low=2, high=8, log=True)


def test_an_integer_beside_a_real_makes_a_real_range():
    assert parse("lr: {low: 0, high: 0.5}").dimensions["lr"] == Real(low=0.0, high=0.5)


def test_a_list_is_a_choice():
    assert parse("batch: [8, 16]").dimensions["batch"] == Choice(options=((8, Space()), (16, Space())))


def test_choices_nest():
    choice = parse("optimizer: {choices: {sgd: {momentum: [0.0, 0.9]}, adamw: }}").dimensions["optimizer"]
    assert choice.subspace("sgd").dimensions["momentum"] == Choice(options=((0.0, Space()), (0.9, Space())))
    assert choice.subspace("adamw") == Space()


def test_choices_may_be_a_plain_list():
    assert parse("a: {choices: [x, y]}") == parse("a: [x, y]")


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("[1, 2]", "search.space", "expected a mapping of names to dimensions, found the list"),
        ("lr: {low: 1.0, hihg: 2.0}", "search.space.lr", "unknown key 'hihg'; did you mean 'high'? allowed: low, high"),
        ("lr: {low: 1.0}", "search.space.lr", "missing high"),
        ("lr: {log: true}", "search.space.lr", "missing low, high"),
        ("lr: {low: 2.0, high: 1.0}", "search.space.lr", "low < high, both finite; found low 2.0, high 1.0"),
        ("lr: {low: 1.0, high: 1.0}", "search.space.lr", "low < high"),
        ("lr: {low: 1.0, high: .inf}", "search.space.lr", "finite"),
        ("lr: {low: .nan, high: 1.0}", "search.space.lr", "finite"),
        ("n: {low: 5, high: 5}", "search.space.n", "low < high; found low 5, high 5"),
        ("lr: {low: 0.0, high: 1.0, log: true}", "search.space.lr", "a log range needs low > 0; found 0.0"),
        ("n: {low: -1, high: 4, log: true}", "search.space.n", "a log range needs low > 0; found -1"),
        ("lr: {low: 1e-5, high: 1.0e-3}", "search.space.lr.low", "YAML reads it as text; write 1.0e-05"),
        ("lr: {low: small, high: 1.0}", "search.space.lr.low", "expected a number, found the text 'small'"),
        ("lr: {low: true, high: 2}", "search.space.lr.low", "expected a number, found true"),
        ("lr: {low: 1.0, high: 2.0, log: 1}", "search.space.lr.log", "expected true or false, found 1"),
        ("lr: {low: 1.0, high: 2.0, grid_points: 1}", "search.space.lr", "grid_points must be at least 2; found 1"),
        ("lr: {low: 1.0, high: 2.0, grid_points: 2.5}", "search.space.lr.grid_points", "expected an integer"),
        ("b: [8, 16, 8]", "search.space.b", "names a value twice"),
        ("b: []", "search.space.b", "at least one value"),
        ("b: {choices: {}}", "search.space.b", "at least one value"),
        ("b: {choices: 3}", "search.space.b.choices", "expected values, each with its own settings, found 3"),
        ("b: [[1], [2]]", "search.space.b", "expected a single value, found the list [1]"),
        ("b: {choices: {x: {}}, log: true}", "search.space.b", "unknown key 'log'; allowed: choices"),
        ("b: {choices: {x: 3}}", "search.space.b.choices.x", "expected a mapping"),
        (
            "b: {choices: {x: {lr: {low: 2.0, high: 1.0}}}}",
            "search.space.b.choices.x.lr",
            "low < high, both finite; found low 2.0",
        ),
    ],
)
def test_a_mistake_is_answered_with_its_place_and_what_is_allowed(text, place, said):
    with pytest.raises(SpaceError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith(f"{place}: ")
    assert said in message
    assert message.count(place + ":") == 1, "the place is said once"


def test_the_yaml_hint_stays_away_from_other_text():
    with pytest.raises(SpaceError) as caught:
        parse("lr: {low: small, high: 1.0}")
    assert "YAML" not in str(caught.value)


def test_values_that_compare_equal_are_one_value():
    with pytest.raises(SpaceError, match="names a value twice"):
        parse("b: [1, 1.0]")
