"""The tables in Python: the same rows whichever tool reads them, and nothing heavy on import."""

import subprocess
import sys

import duckdb
import pandas as pd
import polars as pl
import pytest

from orchestrator import open_results
from orchestrator.errors import SweepError
from orchestrator.ledger import VIEWS, Ledger, open_sweep
from orchestrator.query import query

GROUP_BY = """
select forget_set, optimizer, count(*) as n, count(distinct trial_id) as trials, min(performance) as best,
       max(gen_ex_abs) as worst
from {table} where status = 'completed' group by forget_set, optimizer order by forget_set, optimizer
"""


@pytest.fixture
def results(written_sweeps):
    return open_results("first", storage=str(written_sweeps))


@pytest.mark.parametrize("name", VIEWS)
def test_every_view_gives_arrow_pandas_and_polars(results, name):
    relation = getattr(results, name)()
    arrow = relation.to_arrow_table()
    assert arrow.num_rows > 0 or name == "probes"  # of which these sweeps have none
    assert arrow.schema.names == relation.columns == VIEWS[name].names
    assert arrow.schema.types == VIEWS[name].types
    assert isinstance(relation.df(), pd.DataFrame)
    assert isinstance(relation.pl(), pl.DataFrame)
    assert len(relation.df()) == relation.pl().height == arrow.num_rows


def test_a_group_by_gives_the_same_rows_whichever_tool_reads(written_sweeps, results):
    sweep = written_sweeps / "first"
    files = f"{sweep}/evaluations/*.parquet"
    expected = query([open_sweep(str(sweep))], GROUP_BY.format(table="evaluations")).to_pylist()
    assert len(expected) > 1

    assert results.sql(GROUP_BY.format(table="evaluations")).to_arrow_table().to_pylist() == expected
    assert duckdb.sql(GROUP_BY.format(table=f"'{files}'")).to_arrow_table().to_pylist() == expected

    keys = ["forget_set", "optimizer"]
    for frame in (pl.read_parquet(files), results.evaluations().pl()):
        grouped = frame.filter(pl.col("status") == "completed").group_by(keys)
        summary = grouped.agg(
            pl.len().alias("n"),
            pl.col("trial_id").n_unique().alias("trials"),
            pl.col("performance").min().alias("best"),
            pl.col("gen_ex_abs").max().alias("worst"),
        )
        assert summary.sort(keys).to_dicts() == expected

    for data in (pd.read_parquet(sweep / "evaluations"), results.evaluations().df()):
        columns = {
            "n": ("step", "size"),
            "trials": ("trial_id", "nunique"),
            "best": ("performance", "min"),
            "worst": ("gen_ex_abs", "max"),
        }
        table = data[data.status == "completed"].groupby(keys, as_index=False).agg(**columns)
        assert table.to_dict("records") == expected


def test_relations_go_on(results):
    counts = results.trials().filter("forget_set = 'verses'").aggregate("count(*) as n").fetchall()
    assert counts == [(4,)]


def test_several_sweeps_are_one_table(written_sweeps):
    both = open_results("first", "second", storage=str(written_sweeps))
    assert both.sql("select distinct sweep from trials order by 1").fetchall() == [("first",), ("second",)]


def test_no_sweep_is_a_mistake(written_sweeps):
    with pytest.raises(SweepError, match="at least one sweep"):
        open_results()
    with pytest.raises(SweepError, match="no sweep at"):
        open_results("nosuch", storage=str(written_sweeps))


def test_a_table_is_opened_when_it_is_named_and_once(results, monkeypatch):
    read = []
    dataset = Ledger.dataset
    monkeypatch.setattr(Ledger, "dataset", lambda self, name, **how: read.append(name) or dataset(self, name, **how))
    evaluations = results.evaluations()
    assert evaluations.df().equals(evaluations.df())
    assert read == ["evaluations"]


def test_importing_the_package_is_light():
    code = (
        "import sys, orchestrator; "
        "print(sorted({'ray', 'torch', 'transformers', 'duckdb', 'pyarrow', 'optuna'} & sys.modules.keys())); "
        "print(orchestrator.open_results.__module__, 'ray' in sys.modules); "
        "orchestrator.nosuch"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\norchestrator.query.results False\n"
    assert "AttributeError: module 'orchestrator' has no attribute 'nosuch'" in done.stderr
