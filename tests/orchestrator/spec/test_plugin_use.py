"""A stored spec that names what a plugin provides: read by anyone, run by who has the plugin."""

import json

import pytest

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.probing.probing import probes_of
from orchestrator.spec import amend_spec, dump_spec, registered_names, stored_spec, stored_spec_to_run
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import make_spec
from trainables.objectives import OBJECTIVES, Objective, ObjectiveSettings


class Mine(ObjectiveSettings):
    slope: float = 1.0
    beta1: float = 3.0


MINE = Objective(loss=lambda *_: None, source="a test", settings=Mine)
FILE = {"file": "my own.py", "sha256": "a" * 64, "sources": "b" * 64, "provides": {"objective": ["mine"]}}
PACKAGE = {"package": "my-package", "version": "0.1", "sources": "b" * 64, "provides": {"objective": ["mine"]}}
SPACE = {
    "learning_rate": 1e-3,
    "batch_size": 4,
    "objective": {"choices": {"mine": {"slope": [1.0, 2.0], "objective_beta1": 2.0}, "npo": {"beta": 0.2}}},
}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a sweep whose objective is registered meanwhile."""

    def write(first, last=None):
        ledger = Ledger(storage=LocalStorage(tmp_path / "tiny"), sweep="tiny")
        with monkeypatch.context() as patch:
            patch.setitem(OBJECTIVES, "mine", MINE)
            spec = make_spec(search={"space": SPACE, "sampler": "brute_force", "trials": None})
            for session in (first, last):
                ledger.manifest.create(dump_spec(spec), {"sweep": "tiny"}, {"plugins": [session] if session else []})
        return ledger

    return write


def test_results_are_read_without_the_plugin_and_it_is_not_looked_up(write, monkeypatch):
    ledger = write(FILE)
    asked = set()
    contains = type(OBJECTIVES).__contains__
    monkeypatch.setattr(type(OBJECTIVES), "__contains__", lambda self, name: asked.add(name) or contains(self, name))
    spec = stored_spec(ledger)
    settings = [dict(config.objective_settings) for config in spec.corner_configs if config.objective == "mine"]
    assert {found["slope"] for found in settings} == {1.0, 2.0}
    assert spec.listed_trials == 3
    assert asked == {"npo"}
    assert [(registry.kind, names) for registry, names in registered_names(spec)] == [
        ("objective", ["mine", "npo"]),
        ("metric", []),
    ]


def test_what_is_missing_to_run_it_is_named_as_the_last_session_had_it(write, monkeypatch):
    for first, last, said in (
        (PACKAGE, FILE, rf"is of the plugin file 'my own\.py' \(SHA-256 {'a' * 64}\)(.|\n)*add --plugin 'my own\.py'"),
        (FILE, PACKAGE, "objective 'mine' is of the package my-package 0.1; install it"),
        (FILE, None, "unknown objective 'mine'"),
    ):
        ledger = write(first, last)
        with pytest.raises(SweepError, match=said):
            stored_spec_to_run(ledger)
        with pytest.raises(SweepError, match=said):
            probes_of(stored_spec(ledger), [], ["probes.quantization.bits=[4]"], ledger)
    with pytest.raises(SweepError, match="unknown objective 'mine'"):
        amend_spec(stored_spec(ledger), ["description=other"])
    monkeypatch.setitem(OBJECTIVES, "mine", MINE)
    assert dump_spec(stored_spec_to_run(ledger)) == dump_spec(stored_spec(ledger))


def test_a_typo_among_what_is_shipped_is_still_seen_by_a_reader(write):
    ledger = write(FILE)
    text = ledger.manifest.spec_text().replace("beta: 0.2", "beta: -1")
    ledger.storage.publish("spec.yaml", text.encode())
    with pytest.raises(SweepError, match="objective 'npo': beta"):
        stored_spec(ledger)


def test_a_record_of_plugins_that_no_sweep_writes_is_refused(write):
    ledger = write(FILE)
    ledger.storage.publish("sweep.json", json.dumps({"plugins": [{**FILE, "provides": ["mine"]}]}).encode())
    with pytest.raises(SweepError, match=r"sweep\.json: not what a sweep writes: plugins"):
        stored_spec_to_run(ledger)
