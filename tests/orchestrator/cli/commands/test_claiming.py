"""The command ``claims``: what it prints in 80 columns and as JSON, and what it refuses."""

import json
import re
import sys

import pytest

from orchestrator.claims.computing import claims_of_tables
from orchestrator.cli import main
from orchestrator.cli.claim_tables import claim_tables
from tests.orchestrator.claims.inventing import World, invented
from tests.orchestrator.cli.test_frontier_tables import shown
from tests.orchestrator.helpers import FEW_POINTS, make_spec, write_sweep

GRID = {"sampler": "grid", "across": "seeds", "trials": None, "space": {**FEW_POINTS, "optimizer": ["adamw", "sgd"]}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with three sweeps of invented numbers that differ in the seed of their data, and one of other steps."""
    folder = tmp_path_factory.mktemp("claims")
    for seed in range(3):
        write_sweep(folder / "sweeps", make_spec(name=f"seed-{seed}", data={"seed": seed}, search=GRID))
    write_sweep(folder / "sweeps", make_spec(name="longer", steps=[0, 2, 9, 12], search=GRID))
    return folder


@pytest.fixture
def call(monkeypatch, capfdbinary, folder):
    """Call the command; return exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["unlearn-sweep", "claims", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capfdbinary.readouterr()
        assert b"Traceback" not in out + err
        return caught.value.code or 0, out.decode(), err.decode()

    return run


def test_one_sweep_decides_nothing_and_says_how_many_more_replicates_it_takes(call):
    code, out, err = call("seed-0")
    assert (code, err) == (0, "")
    title = "the paper's findings on seed-0: 1 replicate, 6 settings, 9 steps; exposure by GenEx"
    assert title in " ".join(out.split())
    assert "not decided: fewer than 3 replicates: at least 2 more" in out
    assert not {"supported", "contradicted"} & set(out.split())


def test_replicates_that_are_one_several_times_decide_nothing(call):
    _, out, _ = call("seed-0", "seed-1", "seed-2")
    assert "pooled: seed-0, seed-1, seed-2, which differ in data.seed and otherwise have one spec" in out
    assert "the replicates give the same number but for rounding" in out


def test_sweeps_of_other_specs_have_tables_of_their_own(call):
    _, out, _ = call("seed-0", "longer")
    assert out.count("the paper's findings on") == 2
    assert re.search(r"not decided \(\S+\) on seed-0; not decided \(\S+\) on longer", out)


def test_json_has_everything(call):
    code, out, _ = call("seed-0", "seed-1", "--json")
    found = json.loads(out)
    assert code == 0
    (pool,) = found["pools"]
    assert (pool["sweeps"], pool["differences"]) == (["seed-0", "seed-1"], ["data.seed"])
    steps = pool["findings"][0]
    assert steps["estimand"].startswith("steps until mean exposure is first as never trained")
    assert (steps["verdict"], steps["replicates"], steps["more_replicates"]) == ("not decided", 2, 1)
    assert found["skipped_files"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "claims: give at least one sweep, for example unlearn-sweep claims sweeps/demo"),
        (["nosuch"], "no sweep at sweeps/nosuch"),
        (["seed-0", "seed-0"], "is given 2 times; a replicate counts once"),
    ],
)
def test_a_mistake_is_a_message_and_exit_code_2(call, arguments, said):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_without_the_extra_it_is_said_what_to_install(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "lifelines", None)
    code, out, _ = call("seed-0")
    assert code == 0
    assert "out needs more steps" in out
    assert "pip install 'unlearn-sweep[claims]'" in " ".join(out.split())


def test_a_damaged_file_is_left_out_and_said(call, folder):
    path = next((folder / "sweeps/seed-2/evaluations").iterdir())
    content = path.read_bytes()
    path.write_bytes(content[:100])
    try:
        code, out, err = call("seed-2", "--json")
    finally:
        path.write_bytes(content)
    assert code == 1
    assert "1 damaged file was left out" in err
    assert len(json.loads(out)["skipped_files"]) == 1


def test_the_tables_fit_80_columns():
    found = claims_of_tables([invented(World(by_setting=(0.5, 0.5, 0.5, -2.5)), 8, 1)])
    text = shown(claim_tables([found, found]))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    for part in ("by optimizer", "turns with the optimizer", "Kaplan-Meier", "GenEx and RelEx side by side",
                 "each nat/token of memorization", "NOT matched", "supported", "contradicted"):  # fmt: skip
        assert part in text
    rows = [line for line in lines if line.startswith("a  out needs more steps")]
    assert rows[0].split()[-2:] == ["not", "decided"]
