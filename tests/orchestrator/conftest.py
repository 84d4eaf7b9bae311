"""Optuna speaks only of trouble."""

import optuna
import pytest

from orchestrator.ledger import Ledger
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import make_spec, write_sweep


@pytest.fixture(scope="session", autouse=True)
def quiet_optuna():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def ledger(tmp_path):
    return Ledger(storage=LocalStorage(tmp_path / "tiny"), sweep="tiny")


@pytest.fixture(scope="session")
def written_sweeps(tmp_path_factory):
    """A folder with two whole sweeps of invented numbers, ``first`` and ``second``; tests only read them."""
    folder = tmp_path_factory.mktemp("storage") / "sweeps"
    for name in ("first", "second"):
        write_sweep(folder, make_spec(name=name))
    return folder
