"""How far a model's metrics are from the ledger's."""

import math

import pytest

from orchestrator.export.verification import Comparison, compare_metrics
from tests.orchestrator.helpers import evaluation_record


def compared(change, tolerance=0.0, **recorded):
    row = evaluation_record(4, gen_ex=2.0).columns() | recorded
    return compare_metrics(row, row | change, tolerance=tolerance)


def test_equal_rows_are_equal_whatever_the_clock_says():
    verification = compared({"elapsed_s": 99.0, "status": "collapsed"})
    assert verification.largest == 0
    assert not verification.beyond
    assert "bit for bit" in str(verification)
    assert {"forget_nll", "gen_ex", "tokens_seen"} <= verification.metrics.keys()
    assert not {"elapsed_s", "step", "status", "bleu"} & verification.metrics.keys()


def test_every_metric_is_compared():
    for name in compared({}).metrics:
        assert compared({name: 1e9}).beyond.keys() == {name}


@pytest.mark.parametrize(
    ("recorded", "measured", "difference"), [(4.0, 5.0, 0.25), (-4.0, -5.0, 0.25), (0.0, 0.25, 0.25)]
)
def test_differences_are_relative_down_to_one_unit(recorded, measured, difference):
    assert Comparison(recorded=recorded, measured=measured).difference == difference


def test_a_difference_within_the_tolerance_is_said(recorded=4.0):
    verification = compared({"forget_nll": 4.1}, tolerance=0.1, forget_nll=recorded)
    assert not verification.beyond
    assert "within 0.1 of the ledger's; largest difference: forget_nll, 0.025" in str(verification)


@pytest.mark.parametrize("name", ["population_nll", "distractor_nll"])
def test_what_an_older_version_did_not_measure_is_not_compared(name):
    verification = compared({name: 3.0}, **{name: None})
    assert verification.largest == 0
    assert name not in verification.metrics
    assert compared({name: None}, **{name: 3.0}).beyond.keys() == {name}


@pytest.mark.parametrize("measured", [math.nan, None])
def test_what_is_not_a_number_is_beyond_any_tolerance(measured):
    assert compared({"gen_ex": measured}, tolerance=1e9).beyond.keys() == {"gen_ex"}
    assert compared({"bleu": 3.0}, tolerance=1e9).beyond.keys() == {"bleu"}
