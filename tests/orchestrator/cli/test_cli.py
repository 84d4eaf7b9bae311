"""The command line: exit codes, messages instead of tracebacks, and output that a machine reads."""

import csv
import errno
import io
import json
import os
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console

from orchestrator.cli import main
from orchestrator.ledger import EVALUATIONS, VIEWS
from tests.orchestrator.helpers import spec_data
from tests.support import tiny_architecture


@pytest.fixture
def call(monkeypatch, capfdbinary, written_sweeps):
    """Call the command in the folder that holds ``sweeps/``; return exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.chdir(written_sweeps.parent)
        monkeypatch.setattr(sys, "argv", ["unlearn-sweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capfdbinary.readouterr()
        assert b"Traceback" not in out + err
        return caught.value.code or 0, out, err.decode()

    return run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "nosuch.yaml"], "spec 'nosuch.yaml': No such file or directory; give a YAML file"),
        (["run", "nosuch.yaml"], "spec 'nosuch.yaml': No such file"),
        (["plan", "--set", "search.trials"], "--set 'search.trials': expected key.path=value"),
        (["plan", "--set", "search.trails=3"], "did you mean 'trials'?"),
        (["run", "--name", "../x", "--set", "steps=[1]"], "name: "),
        (["run", "--name", ""], "name: "),
        (["status", "thrid"], "no sweep at sweeps/thrid"),
        (["resume", "nosuch"], "no sweep at sweeps/nosuch"),
        (["frontier", "first", "--forget-set", "verse"], "did you mean 'verses'?"),
        (["frontier", "first", "--objectives", "gen_ex_abs", "retain_nl"], "did you mean 'retain_nll'?"),
        (["frontier", "first", "--objectives", "gen_ex_abs"], "--objectives"),
        (["query"], "query --schema"),
        (["query", "first", "select * form trials"], "query: "),
        (["query", "first", "select * from read_text('/etc/passwd')"], "query: "),
        (["query", "select 1"], "give a sweep, then the SQL"),
        (["query", "first", "from trials", "--memory-limit", "much"], "--memory-limit: found 'much'"),
        (["query", "first", "from trials", "--timeout", "0"], "--timeout: found 0"),
        (["query", "nosuch", "select 1"], "no sweep at sweeps/nosuch"),
        (["status", "floppy://a/b"], "floppy"),
        (["query", "first", "select 1", "--format", "xml"], "xml"),
        (["run", "--workers", "0"], "--workers"),
        (["nosuch"], "nosuch"),
    ],
)
def test_a_mistake_exits_with_2_and_one_message(call, arguments, said):
    code, out, err = call(*arguments)
    assert (code, out) == (2, b"")
    assert said in err


def test_a_file_is_no_sweep(call, written_sweeps):
    code, _, err = call("status", written_sweeps / "first" / "sweep.json")
    assert code == 2
    assert "no sweep at" in err


def test_status(call):
    code, out, _ = call("status", "first", "--json")
    result = json.loads(out)
    assert code == 0
    assert (result["sweep"], result["trials"], result["proposed"]) == ("first", 8, 8)
    assert sum(result["statuses"].values()) == 8
    code, out, _ = call("status", "first")
    assert b"first: 8 of 8 trials proposed" in out


@pytest.mark.parametrize("place", ["first", "sweeps/first", "absolute", "uri"])
def test_a_sweep_is_found_by_name_folder_or_uri(call, written_sweeps, place):
    place = {"absolute": written_sweeps / "first", "uri": f"file://{written_sweeps}/first"}.get(place, place)
    code, out, _ = call("status", place, "--json")
    assert (code, json.loads(out)["sweep"]) == (0, "first")


def test_storage_may_be_elsewhere(call, written_sweeps, tmp_path):
    shutil.copytree(written_sweeps / "first", tmp_path / "moved")
    code, out, _ = call("status", "moved", "--storage", tmp_path, "--json")
    assert (code, json.loads(out)["proposed"]) == (0, 8)


SQL = "select stratum, count(*) as n, null as nothing from trials group by all order by stratum"


def test_a_query_that_reaches_its_limit_is_nobodys_mistake(call):
    endless = "select count(*) from range(100000000000) t(i) where hash(i) = 3"
    code, out, err = call("query", "first", endless, "--timeout", "0.3")
    assert (code, out) == (1, b"")
    assert err.startswith("unlearn-sweep: query: it took longer than 0.3 s; ")
    large = "select string_agg(repeat('abc', 100000 + i::int), ',') from range(100000) t(i)"
    code, out, err = call("query", "first", large, "--memory-limit", "100MiB")
    assert (code, out) == (1, b"")
    assert err.endswith("allow more: --memory-limit 200MiB\n")


def test_query_as_csv(call):
    code, out, _ = call("query", "first", SQL, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out.decode())))
    assert code == 0
    assert [(row["stratum"], row["n"]) for row in rows] == [("people/seed=0", "4"), ("verses/seed=0", "4")]


def test_query_as_json(call):
    code, out, _ = call("query", "first", "second", SQL, "--format", "json")
    assert (code, json.loads(out)[0]) == (0, {"stratum": "people/seed=0", "n": 8, "nothing": None})


def test_query_as_json_is_json_even_of_what_is_no_number(call):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    code, out, _ = call("query", "first", "select 'nan'::double as a, 'inf'::double as b", "--format", "json")
    assert (code, json.loads(out, parse_constant=refuse)) == (0, [{"a": None, "b": None}])


def test_query_as_markdown(call):
    code, out, _ = call("query", "first", "select 'a|b' as x, null as y", "--format", "markdown")
    assert (code, out.decode()) == (0, "| x | y |\n| --- | --- |\n| a\\|b |  |\n")


def test_query_as_parquet(call):
    code, out, _ = call("query", "first", SQL, "--format", "parquet")
    assert code == 0
    assert pq.read_table(pa.BufferReader(out)).column("n").to_pylist() == [4, 4]


def test_the_schema_needs_no_sweep(call):
    code, out, err = call("query", "--schema", "--format", "json")
    rows = json.loads(out)
    assert (code, err) == (0, "")
    assert [(row["table"], row["column"]) for row in rows] == [
        (table, column) for table, schema in VIEWS.items() for column in schema.names
    ]
    (heldout_nll,) = (r for r in rows if (r["table"], r["column"]) == ("evaluations", "heldout_nll"))
    assert (heldout_nll["type"], heldout_nll["unit"]) == ("double", "nats/token")
    assert all(row["meaning"] for row in rows)
    code, out, _ = call("query", "--schema", "--format", "markdown")
    assert (code, out.decode().splitlines()[0]) == (0, "| table | column | type | unit | meaning |")
    code, out, _ = call("query", "--schema")
    assert (code, b"held-out outputs; null for causal models" in out) == (0, True)


@pytest.mark.parametrize("output", ["table", "csv"])
def test_a_reader_that_goes_away_is_no_error_to_shout_about(written_sweeps, output):
    code = "from orchestrator.cli.app import main; main()"
    command = [sys.executable, "-c", code, "query", "first", "from examples, range(3000)", "--format", output]
    with subprocess.Popen(
        command, cwd=written_sweeps.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""


def test_query_as_a_table(call):
    code, out, _ = call("query", "first", SQL)
    assert code == 0
    assert b"people/seed=0" in out
    assert b"2 rows" in out


def test_a_table_shows_the_columns_that_fit(call, monkeypatch):
    monkeypatch.setattr("orchestrator.cli.commands.results.out", lambda: Console(width=80))
    code, out, _ = call("query", "first", "from evaluations limit 3")
    text = out.decode()
    assert code == 0
    assert max(map(len, text.splitlines())) <= 80
    assert "trial_id" in text
    assert f"3 rows, 6 of {len(EVALUATIONS)} columns: select fewer, or --format for all" in text
    assert b"2 rows" in call("query", "first", SQL)[1]


def test_frontier(call):
    code, out, _ = call("frontier", "first", "--json")
    assert code == 0
    assert [f["forget_set"] for f in json.loads(out)] == ["verses", "people"]
    code, out, _ = call("frontier", "first", "--forget-set", "people", "--json")
    assert [f["forget_set"] for f in json.loads(out)] == ["people"]
    code, out, _ = call("frontier", "first")
    assert (code, b"Pareto points" in out) == (0, True)


def test_frontier_takes_objectives_and_bounds(call):
    bounds = ["--exposure-at-most", "5", "--exposure-at-most", "1", "--performance-at-most", "3.5"]
    code, out, _ = call("frontier", "first", "--objectives", "gen_ex_abs", "retain_nll", *bounds, "--json")
    assert code == 0
    for found in json.loads(out):
        assert found["objectives"] == ["gen_ex_abs", "retain_nll"]
        assert [(t["exposure_at_most"], t["performance_at_most"]) for t in found["targets"]] == [(5, 3.5), (1, 3.5)]


def test_plan(call, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(spec_data()))
    code, out, _ = call("plan", path, "--json", "--no-estimate", "--set", "seeds=[0, 1]", "--workers", "2")
    result = json.loads(out)
    assert (code, result["trials"], result["concurrent_trials"]) == (0, 16, 2)
    assert result["saving"] == pytest.approx((2 + 5 + 9) / 9)
    code, out, err = call("plan", path, "--no-estimate", "--set", "resources.concurrent_trials=auto")
    assert (code, b"plan of sweep 'tiny'" in out) == (0, True)
    assert "were not checked" in err
    smallest = f"model.architecture={json.dumps(tiny_architecture())}"
    code, out, _ = call("plan", path, "--set", smallest, "--set", "resources.gpus_per_trial=0.5")
    assert (code, b"on this machine (cpu)" in out, b"GPU-hours" in out, b"CPU-hours" in out) == (0, True, True, True)


def test_the_installed_command_exits_with_2_without_a_traceback(written_sweeps):
    done = subprocess.run(
        [sys.executable, "-c", "from orchestrator.cli.app import main; main()", "status", "nosuch"],
        cwd=written_sweeps.parent, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("unlearn-sweep: no sweep at sweeps/nosuch")
    assert "Traceback" not in done.stderr


def test_a_disk_that_fails_is_one_message_and_exit_code_1(call, monkeypatch, written_sweeps):
    def broken(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("orchestrator.storage.local.opened_to_read", broken)
    code, out, err = call("status", "first")
    path = written_sweeps / "first" / "spec.yaml"
    assert (code, out, err) == (1, b"", f"unlearn-sweep: {path}: cannot read: Input/output error\n")
