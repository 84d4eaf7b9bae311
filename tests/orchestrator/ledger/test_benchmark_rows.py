"""Benchmarks invent rows, and are run by hand: the rows must stay those of a ledger."""

import numpy as np
import pytest

from orchestrator.ledger import metric_row
from tests.benchmarks.ledger import evaluations, examples


@pytest.mark.parametrize(
    ("table", "records"),
    [
        ("evaluations", evaluations(np.random.default_rng(0), 2)),
        ("examples", list(examples(np.random.default_rng(0), step=1, count=2))),
    ],
)
def test_the_rows_that_benchmarks_invent_have_every_number(table, records):
    for record in records:
        row = metric_row(table, record.columns())
        assert row["step"] == record.step
        assert None not in row.values()
