"""Nothing that a sweep's storage holds can run code, and no name can lead out of its folder."""

import ast
from pathlib import Path

import pyarrow as pa
import pytest

from orchestrator.errors import LedgerWarning, SweepError
from orchestrator.ledger import DriverWriter, Ledger
from orchestrator.ledger.schema import TRIALS
from orchestrator.ledger.tables.parquet import encode
from orchestrator.preparation import ModelCache
from orchestrator.storage import LocalStorage
from tests.orchestrator.helpers import PROPOSAL, make_spec, make_trial

ROOT = Path(__file__).parents[2]
PACKAGES = ("orchestrator", "trainables", "search_spaces")
MODULES = sorted(path for package in PACKAGES for path in ROOT.glob(f"{package}/**/*.py"))
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "np.load"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_module_loads_what_could_run_code(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert not {name.partition(".")[0] for name in names} & UNSAFE_MODULES
        elif isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in UNSAFE_CALLS
            if "trainables" in path.parts:  # elsewhere it is the command line's answer that is passed on
                assert not any(keyword.arg == "trust_remote_code" for keyword in node.keywords)
            if _loads_a_model(node):
                options = [ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg is None]
                assert any(option.startswith("remote_code_option(") for option in options), node.lineno


def _loads_a_model(node: ast.Call) -> bool:
    """PEFT's loader runs no code of a folder; whatever else loads or builds a model may."""
    return (
        isinstance(node.func, ast.Attribute)
        and node.func.attr in {"from_pretrained", "from_config"}
        and ast.unparse(node.func.value) != "PeftModel"
    )


def test_the_check_looks_at_the_modules():
    assert len(MODULES) > 40


@pytest.mark.parametrize("name", ["../outside", "/etc", "a/b", "..", ".hidden", "a\\b", "", "x" * 81])
def test_a_sweeps_name_is_a_plain_file_name(name):
    with pytest.raises(SweepError, match="name"):
        make_spec(name=name)


def test_a_trials_file_cannot_name_another_file(tmp_path):
    """A ledger from elsewhere may hold any text as a trial's id; it must be that of its file."""
    ledger = Ledger(storage=LocalStorage(tmp_path / "tiny"), sweep="tiny")
    trial = make_trial()
    DriverWriter(ledger).propose(trial, number=0, distribution="in", proposal=PROPOSAL)
    (path,) = tmp_path.glob("tiny/trials/*.parquet")
    row = ledger.trial(trial.trial_id)
    forged = pa.Table.from_pylist([{**row, "trial_id": "../../outside"}], schema=TRIALS)
    path.write_bytes(encode(forged))
    with pytest.warns(LedgerWarning, match="outside"):
        assert ledger.trials() == []


def test_a_models_files_cannot_name_a_file_elsewhere(tmp_path):
    (tmp_path / "secret").write_text("s")
    (tmp_path / "sweeps" / ".models" / "key").mkdir(parents=True)
    (tmp_path / "sweeps" / ".models" / "key" / "complete.json").write_text('{"files": ["../../../secret"]}')
    with pytest.raises(SweepError, match="secret"):
        ModelCache(LocalStorage(tmp_path / "sweeps")).fetch("key", tmp_path / "here")
