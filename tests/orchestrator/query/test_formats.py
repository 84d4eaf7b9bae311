"""What a machine reads of a query's result is what the query gave."""

import csv
import datetime
import io
import json
import math
from decimal import Decimal

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from orchestrator.cli.tables import result_table
from orchestrator.query import FORMATS

TIME = datetime.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=datetime.UTC)
TEXTS = ["plain", 'say "hi", twice', "two\nlines", "a|b", "back\\slash", "naïve – 日本語 😀", "", None]
NUMBERS = [1.5, 0.1 + 0.2, math.nan, math.inf, -math.inf, None, 0.0, 1e-300]
HARD = pa.table({"text": TEXTS, "number": NUMBERS, "when": pa.array([TIME, *[None] * 7], pa.timestamp("us", "UTC"))})


def written(name, table=HARD):
    return FORMATS[name](table)


def test_csv_comes_back_as_it_was():
    content = written("csv")
    assert content.endswith(b"\n")
    assert b"\r" not in content
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert [row["text"] for row in rows] == [text or "" for text in TEXTS]
    assert str([float(row["number"]) if row["number"] else None for row in rows]) == str(NUMBERS)
    assert datetime.datetime.fromisoformat(rows[0]["when"]) == TIME


def test_csv_tells_null_from_empty_text():
    options = pa_csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""])
    back = pa_csv.read_csv(
        io.BytesIO(written("csv")),
        convert_options=options,
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
    )
    assert back.column("text").to_pylist() == TEXTS


def test_json_is_strict():
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    rows = json.loads(written("json"), parse_constant=refuse)
    assert [row["text"] for row in rows] == TEXTS
    assert [row["number"] for row in rows] == [n if n is None or math.isfinite(n) else None for n in NUMBERS]
    assert datetime.datetime.fromisoformat(rows[0]["when"]) == TIME


def test_parquet_is_the_table():
    back = pq.read_table(pa.BufferReader(written("parquet")))
    assert back.schema == HARD.schema
    assert back.column("text").to_pylist() == TEXTS
    assert str(back.column("number").to_pylist()) == str(NUMBERS)


def test_markdown_keeps_one_line_a_row_and_one_cell_a_column():
    lines = written("markdown").decode().splitlines()
    assert lines[:2] == ["| text | number | when |", "| --- | --- | --- |"]
    assert len(lines) == 2 + HARD.num_rows
    assert all(line.replace("\\\\", "").replace("\\|", "").count("|") == 4 for line in lines)
    assert lines[2] == f"| plain | 1.5 | {TIME.isoformat()} |"
    assert lines[4] == "| two<br>lines | nan |  |"
    assert lines[5] == "| a\\|b | inf |  |"
    assert lines[6] == "| back\\\\slash | -inf |  |"
    assert lines[9] == "|  | 1e-300 |  |"


SPECIAL = pa.table(
    {
        "total": pa.array([Decimal(12)], pa.decimal128(38, 0)),
        "price": pa.array([Decimal("1.5")], pa.decimal128(4, 1)),
        "list": [["a,b", None]],
        "struct": [{"n": math.nan, "t": TIME}],
        "bytes": [b"\x00\xff"],
        "day": [TIME.date()],
        "interval": pa.array([pa.MonthDayNano((1, 2, 3_500_000_000))]),
        "flag": [True],
    }
)


def test_json_and_csv_have_a_word_for_every_type():
    (row,) = json.loads(written("json", SPECIAL))
    assert row == {
        "total": 12,
        "price": 1.5,
        "list": ["a,b", None],
        "struct": {"n": None, "t": TIME.isoformat()},
        "bytes": "AP8=",
        "day": "2026-01-02",
        "interval": "P1M2DT3.5S",
        "flag": True,
    }
    (row,) = csv.DictReader(io.StringIO(written("csv", SPECIAL).decode()))
    assert (row["total"], row["price"], row["list"]) == ("12", "1.5", '["a,b", null]')
    assert (row["bytes"], row["interval"], row["flag"]) == ("AP8=", "P1M2DT3.5S", "true")
    assert "| 12 | 1.5 |" in written("markdown", SPECIAL).decode()


@pytest.mark.parametrize(
    ("interval", "iso", "shown"),
    [
        ((0, 0, 0), "P0M0DT0S", "00:00:00"),
        ((1, 2, 3_500_000_000), "P1M2DT3.5S", "1 month 2 days 00:00:03.5"),
        ((14, 1, 0), "P14M1DT0S", "14 months 1 day"),
        ((0, 0, 1_234_567_890_123_456), "P0M0DT1234567.890123456S", "342:56:07.890123456"),
        ((0, -1, -61_000_000_000), "P0M-1DT-61S", "-1 day -00:01:01"),
    ],
)
def test_an_interval_is_exact_for_a_machine_and_readable_for_a_person(interval, iso, shown):
    table = pa.table({"took": pa.array([pa.MonthDayNano(interval)])})
    assert json.loads(written("json", table)) == [{"took": iso}]
    text = io.StringIO()
    Console(file=text, width=80).print(result_table(table, width=80))
    assert f" {shown} " in text.getvalue()


def test_short_texts_of_a_table_are_in_one_line():
    ids = ["0123456789abcdef", "fedcba9876543210"]
    table = pa.table({"trial_id": ids, "stratum": ["verses/seed=0"] * 2, "message": ["why it ended, " * 30] * 2})
    text = io.StringIO()
    Console(file=text, width=80).print(result_table(table, width=80))
    for whole in (*ids, "verses/seed=0"):
        assert whole in text.getvalue()


@pytest.mark.parametrize("name", FORMATS)
def test_no_row_is_written_too(name):
    content = written(name, HARD.slice(0, 0))
    expected = {"csv": b'"text","number","when"\n', "json": b"[]\n"}
    assert content == expected.get(name, content)
    assert content
