"""Thirds of forget sets by memorization and difficulty, unlearned beside the whole: a sweep, and what is made of it."""

import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.claims import claims_of
from orchestrator.ledger import Ledger
from orchestrator.preparation import workloads
from orchestrator.report.data import read_report_data
from orchestrator.report.figures.heatmaps import heatmap_figure
from orchestrator.run import ExecutorName, RunOptions, run_sweep
from orchestrator.spec import amend_spec, load_spec, stored_spec
from orchestrator.storage import LocalStorage
from tests.integration.helpers import INLINE, TINY, call, rows
from tests.orchestrator.helpers import SilentEvents

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:data.forget_sets:UserWarning")]

TABLES = ("trials", "evaluations", "examples")
THIRDS = ("low", "middle", "high")
REPLICATES = 2
BUCKETS = "data.forget_sets.verses.buckets=[difficulty, memorization]"
MORE = "data.forget_sets.personal_data.buckets=memorization"
OF_VERSES = [f"verses-{trait}-{third}" for trait in ("memorization", "difficulty") for third in THIRDS]
OF_CANARIES = [f"personal_data-memorization-{third}" for third in THIRDS]


def run(storage: Path, name: str, *settings: str) -> Path:
    """Run a sweep of two replicates and one setting, whose objective needs the base model and alternate answers."""
    given = (
        f"name={name}", f"replicates={REPLICATES}", "steps=[4]", "search.trials=1", "search.sampler=random",
        "search.space={objective: dpo, learning_rate: 1.0e-3, batch_size: 2}",
    )  # fmt: skip
    spec = load_spec(str(TINY), overrides=[*given, *settings])
    inline = RunOptions(executor=ExecutorName.INLINE)
    run_sweep(spec, storage=str(storage), events=SilentEvents(), options=inline)
    return storage / name


@pytest.fixture(scope="module")
def whole(storage: Path) -> Path:
    """A sweep of whole forget sets."""
    return run(storage, "whole")


@pytest.fixture(scope="module")
def thirds(storage: Path) -> Path:
    """The same sweep with the verses' buckets, of the same models."""
    return run(storage, "thirds", BUCKETS)


def ledger_of(sweep: Path) -> Ledger:
    return Ledger(storage=LocalStorage(sweep), sweep=sweep.name)


def texts_of(sweep: Path, forget_set: str, replicate: int) -> list[str]:
    found = pq.read_table(sweep / "references" / "forget_sets.parquet").to_pylist()
    return [row["example_id"] for row in found if (row["forget_set"], row["replicate"]) == (forget_set, replicate)]


def split(values: list[tuple[str, float]]) -> list[list[str]]:
    """Divide examples into thirds by sorting, as slowly as it goes: the earlier one first where values are equal."""
    left, found = list(values), []
    for parts in (3, 2, 1):
        own: list[tuple[str, float]] = []
        for _ in range(math.ceil(len(left) / parts)):
            lowest = min(left, key=lambda one: one[1])
            left.remove(lowest)
            own.append(lowest)
        found.append([name for name, _ in values if name in dict(own)])
    return found


@pytest.mark.parametrize("trait", ["memorization", "difficulty"])
def test_the_thirds_of_each_replicate_are_those_of_what_its_models_knew_before(thirds: Path, trait: str) -> None:
    members = []
    for replicate in range(REPLICATES):
        before = {
            row["example_id"]: row[trait]
            for row in rows(thirds, "examples")
            if (row["forget_set"], row["replicate"], row["step"]) == ("verses", replicate, 0)
        }
        verses = texts_of(thirds, "verses", replicate)
        expected = split([(name, before[name]) for name in verses])
        assert [len(own) for own in expected] == [3, 3, 2]
        for third, own in zip(THIRDS, expected, strict=True):
            name = f"verses-{trait}-{third}"
            assert texts_of(thirds, name, replicate) == own
            unlearned = {
                row["example_id"]: row[trait]
                for row in rows(thirds, "examples")
                if (row["forget_set"], row["replicate"]) == (name, replicate)
            }
            assert unlearned.keys() == set(own)
            assert unlearned == {example: before[example] for example in own}
        members.append(expected)
    assert members[0] != members[1], "each replicate has examples and models of its own"


def test_what_is_measured_of_whole_sets_does_not_change_by_a_bit(whole: Path, thirds: Path) -> None:
    for table in TABLES:
        expected = rows(whole, table)
        assert expected
        assert [row for row in rows(thirds, table) if row["forget_set"] not in OF_VERSES] == expected
    before, now = (pq.read_table(sweep / "references" / "baselines.parquet").to_pylist() for sweep in (whole, thirds))
    assert [row for row in now if row["forget_set"] not in OF_VERSES] == before
    manifests = [json.loads((sweep / "sweep.json").read_text()) for sweep in (whole, thirds)]
    for key in ("models", "data_hash", "workload_hash", "replicates"):
        assert manifests[0][key] == manifests[1][key]


def test_a_bucket_is_ranked_against_the_population_of_the_whole(thirds: Path) -> None:
    found = {(row["forget_set"], row["replicate"], row["model"]): row for row in ledger_of(thirds).baselines().rows}
    for (name, replicate, model), row in found.items():
        if name in OF_VERSES:
            parent = found["verses", replicate, model]
            for column in ("population_nll", "heldout_nll", "retain_nll"):
                assert row[column] == parent[column]
            if model == "base" and name.endswith("memorization-high"):
                assert row["gen_ex"] > parent["gen_ex"]
    trials = rows(thirds, "trials")
    assert {row["forget_set"] for row in trials} == {"verses", "personal_data", *OF_VERSES}
    assert {row["distribution"] for row in trials if row["forget_set"] in OF_VERSES} == {"in"}
    assert {row["status"] for row in trials} == {"completed"}
    assert len(trials) == (2 + len(OF_VERSES)) * REPLICATES


def test_the_model_of_a_bucket_is_exported_and_probed(thirds: Path, tmp_path: Path) -> None:
    name = "verses-memorization-high"
    trial = next(row for row in rows(thirds, "trials") if (row["forget_set"], row["replicate"]) == (name, 1))
    point = ("--trial", trial["trial_id"], "--step", "4")
    done = call("export", str(thirds), *point, "--to", str(tmp_path / "model"))
    assert done.returncode == 0, done.stderr
    assert "equal the ledger's, bit for bit" in done.stderr + done.stdout
    facts = json.loads((tmp_path / "model" / "provenance.json").read_text())
    assert facts["forget_set"] == {"name": name, "distribution": "in", "canary": None, "examples": 2}
    probe = ("--probe", "quantization", "--set", "probes.quantization.bits=[4]")
    done = call("probe", str(thirds), *point, *probe, *INLINE)
    assert done.returncode == 0, done.stderr
    probed = rows(thirds, "probes")
    assert {(row["role"], row["forget_set"], row["replicate"]) for row in probed} == {
        (role, name, 1) for role in ("unlearned", "base", "reference-0", "reference-1")
    }
    base = ledger_of(thirds).baselines().in_replicate(1).base(name)
    assert base is not None
    assert {row["before_forget_nll"] for row in probed if row["role"] == "base"} == {base["forget_nll"]}


def test_a_resume_adds_buckets_and_none_is_taken_away(thirds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {table: rows(thirds, table) for table in TABLES}
    decide, recorded = workloads.bucket_members, []
    monkeypatch.setattr(workloads, "bucket_members", lambda *given: recorded.append(given[-1]) or decide(*given))
    spec = amend_spec(stored_spec(ledger_of(thirds)), [MORE])
    options = RunOptions(executor=ExecutorName.INLINE, resume=True)
    run_sweep(spec, storage=str(thirds.parent), events=SilentEvents(), options=options)
    for table in TABLES:
        found = rows(thirds, table)
        assert [row for row in found if row["forget_set"] not in OF_CANARIES] == before[table]
        assert {row["forget_set"] for row in found} > set(OF_CANARIES)
    for replicate, names in enumerate(recorded):
        assert {name: names[name] for name in OF_VERSES} == {
            name: texts_of(thirds, name, replicate) for name in OF_VERSES
        }, "what the ledger says of a replicate decides, where it is measured again"
    known = ledger_of(thirds).baselines()
    whole, low = (known.base(name) for name in ("personal_data", "personal_data-memorization-low"))
    assert whole is not None
    assert low is not None
    assert whole["distractor_nll"] == low["distractor_nll"]
    done = call("resume", str(thirds), "--set", "data.forget_sets.verses.buckets=memorization", *INLINE)
    assert done.returncode == 2
    assert "data.forget_sets.verses.buckets" in done.stderr


def test_every_view_shows_them_as_forget_sets_and_claims_keep_them_apart(thirds: Path) -> None:
    """It comes after the resume above."""
    one = json.loads(call("frontier", str(thirds), "--forget-set", "verses-difficulty-low", "--json").stdout)
    assert [(own["forget_set"], own["distribution"], own["trials"]) for own in one] == [
        ("verses-difficulty-low", "in", REPLICATES)
    ]
    report = read_report_data(ledger_of(thirds))
    assert [own.forget_set for own in report.frontiers] == ["verses", *OF_VERSES, "personal_data", *OF_CANARIES]
    assert len(heatmap_figure(report).panels) == len(report.frontiers)
    (claims,) = claims_of([ledger_of(thirds)], describe=False)
    assert {name for own in claims.decisions for name in own.effect.sets} == {
        "verses against personal_data", "verses", "personal_data"
    }  # fmt: skip
    steps = [own for own in claims.conditions if own.finding.name == "steps" and own.condition[0] != "exposure"]
    assert {own.condition: set(own.effect.sets) for own in steps} == {
        ("bucket", f"memorization {third}"): {f"{first} against {second}"}
        for third, first, second in zip(THIRDS, OF_VERSES, OF_CANARIES, strict=False)
    }
    wrong = call("frontier", str(thirds), "--forget-set", "verses-memorization-hi")
    assert wrong.returncode == 2
    assert "verses-memorization-high" in wrong.stderr
