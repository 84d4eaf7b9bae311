"""SQL over ledgers: the tables are there, and nothing else is."""

import itertools
import math
import os
import resource
import subprocess
import sys
import threading
from contextlib import contextmanager

import pyarrow as pa
import pytest

from orchestrator.errors import RunStoppedError, SweepError
from orchestrator.ledger import Ledger, open_sweep
from orchestrator.query import Limits, open_results, parse_size, query
from orchestrator.report.data import _query_tables

outside = pa.table({"secret": [1]})
"""Stands where DuckDB would find it by its name, were replacement scans on."""


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


def test_the_baselines_say_whose_they_are(written_sweeps):
    ledgers = [open_sweep(name, str(written_sweeps)) for name in ("first", "second")]
    result = query(ledgers, "select sweep, model, forget_set from baselines order by all").to_pylist()
    assert [tuple(row.values()) for row in result] == [
        (sweep, model, forget_set)
        for sweep in ("first", "second")
        for model in ("base", "reference-0", "reference-1")
        for forget_set in ("people", "verses")
    ]


OTHER_FILES = [
    "select * from read_text('{file}')",
    "select * from read_blob('{file}')",
    "select * from read_csv('{file}')",
    "select * from read_csv('{folder}/nosuch.csv')",
    "select * from read_parquet(['{file}'])",
    "select * from read_csv_auto('{file}')",
    "select * from read_json('{file}')",
    "select * from read_parquet('{file}')",
    "select * from parquet_metadata('{file}')",
    "select * from sniff_csv('{file}')",
    "select * from '{file}'",
    "select * from query('from read_csv(''{file}'')')",
    "select * from query_table('{file}')",
    "select * from glob('{folder}/*')",
    "select (select count(*) from read_csv('{file}'))",
    "select * from '{sweep}/spec.yaml'",
    "select * from read_parquet('{sweep}/trials/*.parquet')",
    "select * from read_text('.tmp/x')",
    "select * from read_blob('.tmp/*')",
    "select * from read_text('secret.csv')",
    "select * from glob('.tmp/*')",
    "select * from read_duckdb('{file}')",
    "select * from parquet_schema('{file}')",
    "select * from parquet_kv_metadata('{file}')",
    "select * from read_ndjson_objects('{file}')",
    "describe 'secret.csv'",
    "summarize 'secret.csv'",
    "pivot 'secret.csv' on a",
    "explain select * from read_csv('{file}')",
    "with x as (from read_csv('{file}')) select * from x",
    "select * from json_execute_serialized_sql(json_serialize_sql('select * from read_csv(''{file}'')'))",
    "from '/dev/stdin'",
    "from 'file://{file}'",
]
WRITES = [
    "copy evaluations to '{folder}/out.parquet' (format parquet)",
    "copy (select 1) to '{folder}/out.csv'",
    "copy evaluations from '{file}'",
    "explain analyze copy evaluations to '{folder}/out.csv'",
    "explain analyze copy evaluations to '.tmp/x'",
    "explain copy evaluations to '.tmp/x'",
    "explain /* so */ analyze -- and so\n copy evaluations to '.tmp/x'",
    "/* so */ explain (analyze, format json) copy evaluations to '.tmp/x'",
    "explain analyze create table mine as select 1",
    "explain analyze create table mine as pivot trials on optimizer",
    "explain analyze insert into trials (sweep) values ('x')",
    "explain analyze checkpoint",
    "explain analyze call pragma_version()",
    "explain set threads = 1",
    "explain pragma database_list",
    "create table mine as pivot trials on optimizer",
    "create view mine as pivot (select 1 as a) on a in (1)",
    "copy (pivot trials on optimizer) to '{folder}/out.csv'",
    "with x as materialized (copy (select 1) to '{folder}/out.csv') select 1",
    "with x as (copy (pivot trials on optimizer) to '.tmp/x') from x",
    "copy (select 1) to '.tmp/x'",
    "export database '{folder}/out'",
    "import database '{folder}/out'",
    "attach '{folder}/other.db' as other",
    "attach ':memory:' as other",
    "create table mine as select 1 as a",
    "create view mine as select 1 as a",
    "create macro mine() as 1",
    "insert into trials (sweep) values ('x')",
    "with new as (insert into trials (sweep) values ('x') returning *) select * from new",
    "update trials set sweep = 'x'",
    "delete from trials",
    "truncate trials",
    "drop view trials",
    "alter view trials rename to mine",
    "begin",
    "checkpoint",
    "vacuum",
]
NETWORK_AND_EXTENSIONS = [
    "select * from 'https://localhost:1/a.parquet'",
    "select * from read_csv('http://localhost:1/a.csv')",
    "select * from 's3://bucket/a.parquet'",
    "install httpfs",
    "force install httpfs",
    "load httpfs",
    "load '{folder}/x.duckdb_extension'",
    "select * from delta_scan('{folder}')",
    "create secret s (type s3)",
    "select * from duckdb_secrets()",
]
SETTINGS_AND_SURROUNDINGS = [
    "set enable_external_access = true",
    "set python_enable_replacements = true",
    "set threads = 1",
    "set global lock_configuration = false",
    "reset lock_configuration",
    "pragma enable_profiling",
    "pragma database_list",
    "call enable_logging()",
    "use memory",
    "select getenv('HOME')",
    "select * from outside",
    "select * from ledgers",
    "select * from statements",
    "select * from self",
    "select * from python_scan(1)",
]
SEVERAL = [
    "select 1; select 2",
    "select 1; drop view trials",
    "select 1; set threads = 1; select 2",
    "pivot trials on optimizer; drop view trials",
    "",
    " -- nothing",
]


@pytest.mark.parametrize("sql", OTHER_FILES + WRITES + NETWORK_AND_EXTENSIONS + SETTINGS_AND_SURROUNDINGS + SEVERAL)
def test_what_is_locked_stays_locked(sweep, tmp_path, monkeypatch, sql):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("orchestrator.query.sql.outside", outside, raising=False)
    file = tmp_path / "secret.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(SweepError, match=r"^query: ") as caught:
        query([sweep], sql.format(file=file, folder=tmp_path, sweep=sweep.storage.uri))
    assert "Internal Error" not in str(caught.value)
    if "read_" in sql or "://" in sql or "glob(" in sql:  # nobody so much as looks whether it is there
        assert "disabled by configuration" in str(caught.value)
    assert os.listdir(tmp_path) == ["secret.csv"]  # noqa: PTH208


@pytest.mark.parametrize(
    "sql",
    [
        "from trials",
        "select count(*) from TRIALS;",
        "with best as (select min(performance) as p from evaluations) select p from best",
        "describe evaluations",
        "show tables",
        "summarize trials",
        "pivot trials on optimizer using count(*)",
        "select * from (pivot trials on optimizer using count(*))",
        "explain select * from evaluations",
        "values (1), (2)",
    ],
)
def test_what_only_reads_runs(sweep, sql):
    assert query([sweep], sql).num_rows > 0


@pytest.mark.parametrize(
    ("sql", "line", "place", "hint"),
    [
        ("select *\nform evaluations", "LINE 2: form evaluations", "evaluations", "syntax error"),
        ("select\n lerning_rate\nfrom trials", "LINE 2:  lerning_rate", "lerning_rate", '"learning_rate"'),
        ("select * from evaluation", "LINE 1: select * from evaluation", "evaluation", 'Did you mean "evaluations"?'),
        ("select mun(step) from evaluations", "LINE 1: select mun(step)", "mun", "Did you mean"),
        ("select trial_id::int from trials", "LINE 1: select trial_id::int", "trial_id", "Could not convert"),
    ],
)
def test_an_error_points_at_the_place(sweep, sql, line, place, hint):
    with pytest.raises(SweepError) as caught:
        query([sweep], sql)
    message = str(caught.value)
    shown, carets = next(
        (above, below)
        for above, below in itertools.pairwise(message.splitlines())
        if above.startswith("LINE") and set(below) <= {" ", "^"}
    )
    assert line in shown
    assert hint in message
    if hint != "Could not convert":  # there DuckDB marks the cast
        assert carets.index("^") == shown.index(place, len("LINE 1: "))
    assert (
        "tables: trials, evaluations, examples, baselines, forget_examples, probes; their columns: "
        "unlearn-sweep query --schema" in message
    )


@pytest.mark.parametrize("sql", ["select lerning_rate from trials", "select * from evaluation"])
def test_a_wrong_name_is_answered_with_a_near_one(sweep, sql):
    with pytest.raises(SweepError, match=r"learning_rate|evaluations"):
        query([sweep], sql)


def test_a_slow_query_draws_no_progress_into_standard_output(written_sweeps):
    """As DuckDB does from two seconds on, where it takes the session for an interactive one."""
    code = """
import sys
from orchestrator.query.sql import query
from orchestrator.ledger.sweeps import open_sweep
print(query([open_sweep(sys.argv[1])], "select current_setting('enable_progress_bar') as bar").to_pylist())
"""
    command = [sys.executable, "-c", code, str(written_sweeps / "first")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[{'bar': False}]\n"


def test_columns_of_one_name_stay_apart(sweep):
    result = query([sweep], "select 1 as a, 2 as a, 3 as b, 4 as a")
    assert result.to_pylist() == [{"a": 1, "a_1": 2, "b": 3, "a_2": 4}]


def test_a_query_reads_no_other_table_than_it_names(sweep, monkeypatch):
    read = []
    dataset = Ledger.dataset
    monkeypatch.setattr(Ledger, "dataset", lambda self, name, **how: read.append(name) or dataset(self, name, **how))
    query([sweep], "select count(*) from evaluations a join evaluations b using (trial_id)")
    assert read == ["evaluations"]


LARGE = {
    "held by DuckDB": "select count(distinct hash(i::varchar || 'abc')) from range(30000000) t(i)",
    "sorted": "select * from range(30000000) order by hash(range)",
    "one value": "select string_agg(repeat('abc', 100000 + i::int), ',') from range(100000) t(i)",
    "texts of one batch of rows": "select sum(length(repeat('x', 100000000 + i::int))) from range(2048) t(i)",
    "the result": "select i, repeat('x', 1000) from range(100000000) t(i)",
    "a product": "from evaluations a, evaluations b, evaluations c, evaluations d, evaluations e, evaluations f",
}


@pytest.mark.parametrize("sql", LARGE.values(), ids=LARGE)
def test_a_query_larger_than_its_memory_ends_with_what_to_do(sweep, tmp_path, monkeypatch, sql):
    """And nothing of it goes to the disk."""
    monkeypatch.chdir(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(RunStoppedError, match=r"^query: it needs more memory than 200 MiB; .*--memory-limit 400MiB$"):
        query([sweep], sql, Limits(memory_bytes=200 * 2**20))
    assert os.listdir(tmp_path) == []  # noqa: PTH208
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert query([sweep], "from trials", Limits(memory_bytes=200 * 2**20)).num_rows == 8


ENDLESS = {
    "counts": "with recursive r as (select 1 as i union all select i + 1 from r) select count(*) from r",
    "searches": "select i from range(10000000000000) t(i) where hash(i) = 3",
    "gives a few rows": "select i from range(10000000000000) t(i) where hash(i) % 100000000 = 3",
}


@pytest.mark.parametrize("sql", ENDLESS.values(), ids=ENDLESS)
def test_a_query_longer_than_its_time_ends_with_what_to_do(sweep, sql):
    with pytest.raises(RunStoppedError, match=r"^query: it took longer than 0.5 s; .*--timeout 2$"):
        query([sweep], sql, Limits(timeout_s=0.5))


def test_the_time_of_a_query_begins_with_the_files_it_reads(sweep, monkeypatch):
    @contextmanager
    def over_at_once(interrupt, timeout_s):
        over = threading.Event()
        over.set()
        yield over

    monkeypatch.setattr("orchestrator.query.sql.time_limit", over_at_once)
    monkeypatch.setattr("orchestrator.query.sql._rows", None)  # not reached
    with pytest.raises(RunStoppedError, match="took longer than 300 s"):
        query([sweep], "from trials")


def test_the_limits_of_a_query_have_sound_defaults(sweep):
    (row,) = query([sweep], "select current_setting('memory_limit') as most").to_pylist()
    assert 2**28 < parse_size(row["most"]) <= 4 * 2**30
    assert query([sweep], "select current_setting('temp_directory') as d").to_pylist() == [{"d": ""}]
    assert query([sweep], "select 1 as a", Limits(timeout_s=math.inf)).num_rows == 1


@pytest.mark.parametrize(
    ("text", "size"), [("8GiB", 2**33), ("1.5 gb", 1_500_000_000), ("512 MiB", 2**29), ("1048576", 2**20)]
)
def test_a_size_is_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GiB", "4 XiB", "GiB", "1e9", "nan"])
def test_what_is_no_size_says_what_is(text):
    with pytest.raises(SweepError, match=r"--memory-limit: found .*such as 512MiB or 8GiB"):
        parse_size(text)


@pytest.mark.parametrize("limits", [{"memory_bytes": 1}, {"timeout_s": 0}, {"timeout_s": math.nan}])
def test_limits_that_allow_nothing_are_refused(limits):
    with pytest.raises(SweepError, match=r"--memory-limit|--timeout"):
        Limits(**limits)


@pytest.mark.parametrize("read", ["sql", "report"])
def test_no_other_reader_writes_beside_its_files_either(written_sweeps, tmp_path, monkeypatch, read):
    """What is sorted outside of memory would go to ``.tmp`` in the current folder."""
    monkeypatch.chdir(tmp_path)
    where = "select current_setting('temp_directory') as d"
    if read == "sql":
        assert open_results("first", storage=str(written_sweeps)).sql(where).fetchall() == [("",)]
    else:
        assert _query_tables(where) == [{"d": ""}]
