"""The command ``probe``: what it refuses before any work; and what other commands say of probes."""

import json
import sys
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.driver import Interrupt, lease
from orchestrator.ledger import DriverWriter, Ledger
from orchestrator.ledger.schema import PROBES
from tests.orchestrator.helpers import make_spec, measured, write_control, write_probe, write_sweep
from tests.readme import parse


@pytest.fixture
def sweep(tmp_path):
    return write_sweep(tmp_path / "sweeps", make_spec())


@pytest.fixture
def probed(sweep):
    trial = next(row for row in sweep.trials() if row["forget_set"] == "verses" and row["last_step"] == 9)
    write_probe(sweep, trial, 5, [measured("int8", 8.0), measured()])
    write_control(sweep, "base", [measured()])
    return sweep


@pytest.fixture
def call(monkeypatch, capfdbinary, tmp_path):
    """Call a command in the folder that holds ``sweeps/``; return exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["unlearn-sweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capfdbinary.readouterr()
        assert b"Traceback" not in out + err
        return caught.value.code or 0, out.decode(), err.decode()

    return run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch"], "no sweep at sweeps/nosuch"),
        (["tiny", "--probe", "relearnin"], "unknown probe 'relearnin'; did you mean 'relearning'?"),
        (["tiny", "--frontier", "0"], "--frontier 0: give how many points"),
        (["tiny", "--frontier", "²"], "unexpected extra argument"),
        (["tiny", "--frontier", "--best", "exposure<=2"], "choose points by one of"),
        (["tiny", "--trial", "zzz", "--step", "2"], "--trial zzz: no trial of this sweep begins so"),
        (["tiny", "--trial", "zzz"], "give both"),
        (["tiny", "--best", "exposre<=2"], "did you mean 'exposure'?"),
        (["tiny", "--forget-set", "verse"], "did you mean 'verses'?"),
        (["tiny", "--set", "steps=[1]"], "only settings below 'probes'"),
        (["tiny", "--set", "probes.quantization.bitz=[4]"], "did you mean 'bits'?"),
        (["tiny", "--set", "probes.quantization.bits=[3]"], "bits"),
        (["tiny", "--set", "probes.nosuch.bits=[3]"], "unknown probe 'nosuch'"),
    ],
)
def test_a_mistake_is_a_message_and_exit_code_2(call, sweep, arguments, said):
    code, out, err = call("probe", *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert not sweep.storage.files("drivers", "")


def test_tasks_that_are_not_there_are_missed_before_any_work(call, sweep):
    pytest.importorskip("lm_eval", reason="lm-eval, an extra, is not installed")
    settings = ["--set", "probes.tasks.tasks=[mine]", "--set", "probes.tasks.include_path=nowhere"]
    code, _, err = call("probe", "tiny", "--probe", "tasks", *settings)
    assert code == 2
    assert f"include_path: no folder '{Path.cwd() / 'nowhere'}'" in err, "relative to where the command is run"
    assert "reading the data" not in err


def test_a_sweep_without_a_completed_trial_is_refused(call, sweep):
    for folder in ("trials", "evaluations", "examples"):
        for path in sweep.storage.files(folder, ""):
            sweep.storage.remove(path)
    code, _, err = call("probe", "tiny")
    assert code == 2
    assert "has no completed evaluation after step 0" in err


def test_a_second_driver_is_refused(call, sweep):
    with lease(sweep.storage, "tiny", Interrupt()):
        code, _, err = call("probe", "tiny", "--executor", "inline")
    assert code == 2
    assert "is driven by host" in err


def test_what_is_done_is_not_done_again_and_is_shown(call, probed):
    """Everything that is asked for is there, so nothing is loaded that could do it."""
    trial = next(row["trial_id"] for row in probed.probes().to_pylist() if row["role"] == "unlearned")
    settings = {"bits": [4], "group_size": 128, "embeddings": False, "backend": "auto"}
    row = next(row for row in probed.trials() if row["trial_id"] == trial)
    write_probe(probed, row, 5, [measured()], settings=settings)
    for role in ("base", "reference-0", "reference-1"):
        write_control(probed, role, [measured()], settings=settings)
    point = ["probe", "tiny", "--trial", trial, "--step", "5", "--probe", "quantization"]
    point += ["--set", "probes.quantization.bits=[4]"]
    code, out, err = call(*point)
    assert (code, err) == (0, "")
    assert "nothing left to do; 4 had been done before" in out
    assert "quantization, int4" in out
    code, out, err = call(*point, "--json")
    data = json.loads(out)
    assert (data["points"], data["done"], data["done_before"], data["failed"]) == ([[trial, 5]], 0, 4, [])
    (found,) = data["found"]
    assert [model["role"] for model in found["controls"]] == ["base", "reference-0", "reference-1"]
    assert found["points"][0]["found"][0]["gen_ex"] == 3.0
    assert set(found["points"][0]["found"][0]) == set(PROBES.names)


@pytest.mark.parametrize(
    "arguments",
    [["tiny", "--frontier"], ["--frontier", "tiny"], ["tiny", "--frontier", "3"], ["tiny", "--frontier", "--json"]],
)
def test_the_number_of_points_of_a_frontier_may_be_left_out(arguments):
    parse(["probe", *arguments])


def test_status_counts_probes_once_a_model(call, sweep, probed):
    code, out, _ = call("status", "tiny")
    assert code == 0
    assert "evaluations, 2 probes (2 quantization)\n" in out
    assert json.loads(call("status", "tiny", "--json")[1])["probes"] == {"quantization": 2}


def test_status_says_nothing_of_probes_where_there_are_none(call, sweep):
    assert "probes" not in call("status", "tiny")[1]
    assert json.loads(call("status", "tiny", "--json")[1])["probes"] == {}


def test_the_frontier_after_a_probe(call, probed):
    code, out, err = call("frontier", "tiny", "--after", "quantization")
    assert (code, err) == (0, "")
    assert "after quantization, by its strongest variant" in " ".join(out.split())
    verses, people = json.loads(call("frontier", "tiny", "--after", "quantization", "--json")[1])
    assert [model["role"] for model in verses["after"]["models"]] == ["unlearned", "base"]
    assert people["after"] is None
    assert verses["points"]


def test_the_frontier_after_what_nobody_tried_is_refused(call, sweep):
    code, out, err = call("frontier", "tiny", "--after", "relearning")
    assert (code, out) == (2, "")
    assert "--after relearning: no point was probed so; do it first: unlearn-sweep probe" in err


def test_the_frontier_without_probes_has_the_keys_that_it_had(call, probed):
    (verses, _) = json.loads(call("frontier", "tiny", "--json")[1])
    assert "after" not in verses


def test_probes_can_be_queried(call, probed):
    code, out, _ = call(
        "query", "tiny", "select role, variant, gen_ex, scores from probes order by role, variant", "--format", "json"
    )
    assert code == 0
    assert [(row["role"], row["variant"]) for row in json.loads(out)] == [
        ("base", "int4"), ("unlearned", "int4"), ("unlearned", "int8"),
    ]  # fmt: skip
    assert "before_gen_ex" in call("query", "--schema", "--format", "csv")[1]


def test_a_table_without_rows_can_be_queried(call, sweep):
    code, out, _ = call("query", "tiny", "select count(*) as n from probes", "--format", "csv")
    assert (code, out.split()) == (0, ['"n"', "0"])


def test_the_report_has_the_table_of_probes_only_where_there_are_any(call, probed):
    other = write_sweep(Path(probed.storage.uri).parent, make_spec(name="other"))
    for ledger, there in ((probed, True), (other, False)):
        assert call("report", ledger.sweep)[0] == 0
        page = ledger.storage.read("report/index.html").decode()
        assert "Is it really gone?" in page, "of points that were not probed, what evaluations tell"
        assert ("after each probe" in page) == there
        assert "nothing was tried on these models yet" in page, "of the people, in either"
        assert 'href="#probes"' in page
        if there:
            assert "quantization, int4" in page
            assert "3.00 (3.50)" in page


def test_the_log_of_failed_probes_is_shown(call, sweep):
    assert "nothing went wrong with its probes" in call("logs", "tiny", "--trial", "probing")[1]
    DriverWriter(Ledger(storage=sweep.storage, sweep="tiny")).add_to_log("probing", "out of memory")
    assert call("logs", "tiny", "--trial", "probing")[1] == "out of memory\n"
