"""The journal opens with Optuna's own file backend and dashboard, and holds what the studies hold, finished trials."""

import json
import math
from threading import Thread
from urllib.request import urlopen
from wsgiref.simple_server import make_server

import optuna
import optuna_dashboard
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from orchestrator.search import export_journal
from orchestrator.search.journal import JOURNAL
from tests.orchestrator.helpers import Driver, make_search, make_spec, memory_ledger


@pytest.fixture
def sweep():
    """A search of two strata, its ledger, and whoever runs it."""
    rates = {"low": 4e-3, "high": 7e-3}  # most diverge
    space = {"batch_size": 4, "learning_rate": rates}
    spec = make_spec(search={"sampler": "nsga2", "trials": 6, "population_size": 3, "space": space})
    ledger = memory_ledger()
    search = make_search(spec, ledger, concurrent_trials=4)
    return search, ledger, Driver(search, ledger)


def opened(ledger, tmp_path):
    """The published journal, as optuna-dashboard opens it."""
    path = tmp_path / "journal.log"
    path.write_bytes(ledger.storage.read(JOURNAL))
    return JournalStorage(JournalFileBackend(str(path)))


def described(trials):
    return [(t.params, t.distributions, t.values, t.state, t.constraints, t.user_attrs, t.system_attrs) for t in trials]


def test_a_finished_search_is_in_the_journal_trial_by_trial(sweep, tmp_path):
    search, ledger, driver = sweep
    driver.run()
    assert export_journal(ledger.storage, search.studies) == JOURNAL
    storage = opened(ledger, tmp_path)
    assert set(optuna.get_all_study_names(storage)) == set(search.studies)
    for name, stratum in search.studies.items():
        study = optuna.load_study(study_name=name, storage=storage)
        assert study.directions == stratum.study.directions
        assert [trial.number for trial in study.trials] == [trial.number for trial in stratum.study.trials]
        assert described(study.trials) == described(stratum.study.trials)
        assert described(study.best_trials) == described(stratum.study.best_trials)
    values = [tuple(t.values) for stratum in search.studies.values() for t in stratum.study.trials if t.values]
    assert (math.inf, math.inf) in values, "the check would be empty"


def test_what_runs_is_left_out_and_a_later_export_replaces_an_earlier_one(sweep, tmp_path):
    search, ledger, driver = sweep
    running = [search.next() for _ in range(4)]
    export_journal(ledger.storage, search.studies)
    assert all(not s.n_trials for s in optuna.get_all_study_summaries(opened(ledger, tmp_path)))
    driver.finish(running.pop(0))
    for _ in range(2):
        export_journal(ledger.storage, search.studies)
    storage = opened(ledger, tmp_path)
    for name, stratum in search.studies.items():
        live = stratum.study.trials
        assert any(trial.state is TrialState.RUNNING for trial in live), "the check would be empty"
        finished = [trial for trial in live if trial.state.is_finished()]
        assert described(optuna.load_study(study_name=name, storage=storage).trials) == described(finished)


def test_the_dashboard_shows_every_stratum(sweep, tmp_path):
    search, ledger, driver = sweep
    driver.run()
    export_journal(ledger.storage, search.studies)
    (tmp_path / "journal.log").write_bytes(ledger.storage.read(JOURNAL))
    app = optuna_dashboard.wsgi(str(tmp_path / "journal.log"))  # a path, as the command takes it
    with make_server("127.0.0.1", 0, app) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            api = f"http://127.0.0.1:{server.server_port}/api/studies"
            studies = json.load(urlopen(api))["study_summaries"]
            assert {study["study_name"] for study in studies} == set(search.studies)
            for study in studies:
                stratum = search.studies[study["study_name"]]
                detail = json.load(urlopen(f"{api}/{study['study_id']}"))
                assert study["directions"] == ["minimize", "minimize"]
                states = [trial.state.name.capitalize() for trial in stratum.study.trials]
                assert [trial["state"] for trial in detail["trials"]] == states
        finally:
            server.shutdown()
            thread.join()
