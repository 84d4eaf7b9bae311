"""A ledger on a real S3 server: the same files and rows as on a disk, for us, for other tools and by every command."""

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import fsspec
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

from orchestrator.cli import main
from orchestrator.ledger import DriverWriter, Ledger
from orchestrator.ledger.schema import TABLES
from orchestrator.ledger.tables import merged
from orchestrator.ledger.tables.table_files import TableFiles
from orchestrator.storage import LocalStorage, open_storage
from tests.orchestrator.helpers import make_spec, write_sweep_to
from tests.s3 import use_endpoint


def write(storage):
    spec = make_spec(name="first")
    ledger = Ledger(storage=storage, sweep=spec.name, now=lambda: datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
    return write_sweep_to(ledger, spec)


@pytest.fixture(scope="module")
def bucket(s3_server):
    with pytest.MonkeyPatch.context() as patch:
        use_endpoint(patch, s3_server.endpoint)
        yield s3_server.new_bucket()


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The sweep on a disk."""
    return write(LocalStorage(tmp_path_factory.mktemp("local") / "sweeps" / "first"))


@pytest.fixture(scope="module")
def there(bucket):
    """The same sweep on S3."""
    return write(open_storage(f"s3://{bucket}/sweeps/first"))


@pytest.fixture
def call(bucket, monkeypatch, capfd):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["unlearn-sweep", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capfd.readouterr()
        assert not caught.value.code, err
        return out

    return run


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_files_are_the_same_byte_for_byte(here, there, s3_server, bucket):
    on_disk = files(Path(here.storage.uri))
    assert files(s3_server.folder / bucket / "sweeps" / "first") == on_disk
    assert len(on_disk) > 20


def by_duckdb(place, table):
    connection = duckdb.connect()
    connection.register_filesystem(fsspec.filesystem("s3"))
    return connection.sql(f"from read_parquet('s3://{place}/{table}/*.parquet')").to_arrow_table().to_pylist()


def by_pyarrow(place, table):
    dataset = ds.dataset(f"{place}/{table}", filesystem=fsspec.filesystem("s3"), format="parquet")
    return dataset.to_table().to_pylist()


def by_pandas(place, table):
    filesystem = fsspec.filesystem("s3")
    return pd.concat(pd.read_parquet(f"s3://{p}") for p in filesystem.ls(f"{place}/{table}")).to_dict("records")


def by_polars(place, table):
    filesystem = fsspec.filesystem("s3")
    return pl.read_parquet([filesystem.open(path) for path in filesystem.ls(f"{place}/{table}")]).to_dicts()


@pytest.mark.parametrize("read", [by_duckdb, by_pyarrow, by_pandas, by_polars])
def test_other_tools_read_the_same_rows(here, there, bucket, monkeypatch, read):
    monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")  # rclone's of a range is that of the whole
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    names = {"trials": ("trial_id", "status", "config"), "evaluations": ("trial_id", "step", "performance", "gen_ex")}
    for table, columns in names.items():
        expected = [[row[name] for name in columns] for row in here.table(table).to_pylist()]
        seen = [[row[name] for name in columns] for row in read(f"{bucket}/sweeps/first", table)]
        assert sorted(map(str, seen)) == sorted(map(str, expected))


def test_merged_copies_are_found_and_read_there(there, here, monkeypatch):
    expected = {name: sorted(map(str, here.table(name).to_pylist())) for name in TABLES}
    DriverWriter(there).merge()
    monkeypatch.setattr(TableFiles, "open", lambda *_, **__: pytest.fail("a trial's own file was read"))
    for name in TABLES:
        assert merged.find(there.storage, name, there.storage.files(name, ".parquet")) is not None
        assert sorted(map(str, there.table(name).to_pylist())) == expected[name]


@pytest.mark.parametrize("ending", ["", "/"])
def test_every_command_answers_as_on_a_disk_and_names_places_on_s3(here, there, bucket, call, ending):
    there_uri, here_uri = f"s3://{bucket}/sweeps/first", here.storage.uri
    assert json.loads(call("status", there_uri + ending, "--json"))["uri"] == there_uri
    assert f"\n{there_uri}\n" in call("status", "first", "--storage", f"s3://{bucket}/sweeps{ending}")
    sql = "select forget_set, count(*) n, max(performance) p from evaluations group by all order by all"
    assert call("query", there_uri + ending, sql, "--format", "csv") == call("query", here_uri, sql, "--format", "csv")
    assert call("frontier", there_uri + ending, "--json") == call("frontier", here_uri, "--json")
    assert call("merge", there_uri + ending) == f"{there_uri}/merged\n"


def test_the_report_is_written_there(there, bucket, call):
    assert call("report", f"s3://{bucket}/sweeps/first/") == f"s3://{bucket}/sweeps/first/report/index.html\n"
    page = there.storage.read("report/index.html")
    assert b"<html" in page
    assert f"s3://{bucket}/sweeps/first".encode() in page
    assert list(there.storage.files("report", ".png"))


def test_no_secret_is_in_the_ledger(there, s3_server, bucket):
    for path, content in files(s3_server.folder / bucket).items():
        assert os.environ["AWS_SECRET_ACCESS_KEY"].encode() not in content, path
