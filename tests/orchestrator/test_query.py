"""SQL over ledgers: the tables are there, and nothing else is."""

import os

import pyarrow as pa
import pytest

from orchestrator.errors import SweepError
from orchestrator.query import query
from orchestrator.sweeps import open_sweep

outside = pa.table({"secret": [1]})
"""DuckDB would find this variable by its name, were replacement scans on."""


@pytest.fixture
def sweep(written_sweeps):
    return open_sweep("first", str(written_sweeps))


def test_the_views_join(sweep):
    result = query(
        [sweep],
        "select t.trial_id, count(distinct e.step) as steps, count(*) as examples, any_value(t.last_step) as last "
        "from trials t join evaluations e using (trial_id) join examples x on x.trial_id = e.trial_id "
        "and x.step = e.step where t.status = 'completed' group by all",
    ).to_pylist()
    assert result
    assert all(row["steps"] == row["examples"] == 4 and row["last"] == 9 for row in result)


def test_several_sweeps_are_one_table(written_sweeps):
    ledgers = [open_sweep(name, str(written_sweeps)) for name in ("first", "second")]
    result = query(ledgers, "select sweep, count(*) as n from trials group by sweep order by sweep").to_pylist()
    assert result == [{"sweep": "first", "n": 8}, {"sweep": "second", "n": 8}]


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('{file}')",
        "select * from read_csv('{file}')",
        "select * from '{file}'",
        "select * from glob('{folder}/*')",
        "copy evaluations to '{folder}/out.parquet' (format parquet)",
        "copy (select 1) to '{folder}/out.csv'",
        "export database '{folder}/out'",
        "attach '{folder}/other.db' as other",
        "install httpfs",
        "load httpfs",
        "load '{folder}/x.duckdb_extension'",
        "set enable_external_access = true",
        "set python_enable_replacements = true",
        "set threads = 1",
        "reset lock_configuration",
        "select * from outside",
        "select * from ledgers",
        "select * from rows",
    ],
)
def test_what_is_locked_stays_locked(sweep, tmp_path, sql):
    file = tmp_path / "secret.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(SweepError, match=r"^query: "):
        query([sweep], sql.format(file=file, folder=tmp_path))
    assert os.listdir(tmp_path) == ["secret.csv"]  # noqa: PTH208


def test_a_syntax_error_points_at_the_place(sweep):
    with pytest.raises(SweepError) as caught:
        query([sweep], "select * form evaluations")
    message = str(caught.value)
    assert "select * form evaluations\n" in message
    assert "^" in message
    assert "(tables: trials, evaluations, examples)" in message


@pytest.mark.parametrize("sql", ["select lerning_rate from trials", "select * from evaluation"])
def test_a_wrong_name_is_answered_with_a_near_one(sweep, sql):
    with pytest.raises(SweepError, match=r"learning_rate|evaluations"):
        query([sweep], sql)


def test_one_query_leaves_nothing_for_the_next(sweep):
    query([sweep], "create table mine as select 1 as a")
    with pytest.raises(SweepError, match="mine"):
        query([sweep], "select * from mine")
