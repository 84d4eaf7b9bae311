"""Plugin files: run once, taken back where they fail, and known in every process that gets them by value."""

import inspect
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins import OBJECTIVE, REGISTER, fresh_registries, write_plugin
from trainables.errors import UnlearningError
from trainables.objectives import OBJECTIVES, check_objective
from trainables.plugins import load_plugins, plugin_files, read_plugins


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Each test has a process's state for itself."""
    with fresh_registries():
        yield


def test_a_file_registers_an_objective_whose_settings_are_validated_and_described(tmp_path: Path) -> None:
    (file,) = load_plugins([write_plugin(tmp_path)])
    assert "scaled_ascent" in OBJECTIVES
    assert OBJECTIVES.origin("scaled_ascent") == file
    assert file.provides == {"objective": ["scaled_ascent"]}
    assert dict(check_objective("scaled_ascent", {"factor": "2"})) == {"reduction": "token", "factor": 2.0}
    field = OBJECTIVES["scaled_ascent"].settings.model_fields["factor"]
    assert field.description == "Factor of the ascent.", "its docstrings are found, as of any module"
    assert OBJECTIVES.origin("npo") is None
    file.run()  # nothing: it was run already
    with pytest.raises(UnlearningError, match="unknown objective 'scaled_asent'; did you mean 'scaled_ascent'"):
        check_objective("scaled_asent", {})


def modules() -> set[str]:
    return {name for name in sys.modules if name.startswith("unlearn_sweep_plugin")}


def test_reading_a_file_runs_nothing(tmp_path: Path) -> None:
    read_plugins([write_plugin(tmp_path)])
    assert "scaled_ascent" not in OBJECTIVES


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            OBJECTIVE + 'register("npo", SCALED)\n',
            "my_objective.py, line 19: objective 'npo' is registered already; choose another name",
        ),
        (OBJECTIVE + REGISTER + "1 / 0\n", "my_objective.py, line 20: ZeroDivisionError: division by zero"),
        (OBJECTIVE + REGISTER + REGISTER, "line 20: objective 'scaled_ascent' is registered already"),
        (OBJECTIVE + REGISTER + "import sys\nsys.exit(3)\n", "my_objective.py, line 21: SystemExit: 3"),
        (OBJECTIVE + "register(\n", "my_objective.py, line 19: SyntaxError: '(' was never closed"),
        (OBJECTIVE, "my_objective.py: it registers nothing; call trainables.objectives.register"),
        (
            "import helpers_beside_it\n",
            "my_objective.py, line 1: ModuleNotFoundError: No module named 'helpers_beside_it'; a plugin is one file",
        ),
    ],
)
def test_a_mistake_in_a_file_is_named_by_its_line_and_leaves_nothing_behind(
    tmp_path: Path, text: str, said: str
) -> None:
    write_plugin(tmp_path, name="helpers_beside_it.py")
    before = modules()
    with pytest.raises(UnlearningError) as caught:
        load_plugins([write_plugin(tmp_path, text)])
    assert said in str(caught.value)
    assert set(OBJECTIVES) == set(OBJECTIVES.shipped)
    assert modules() == before
    load_plugins([write_plugin(tmp_path)])  # repaired, it is run as if nothing had been


def test_what_is_no_plugin_file_is_refused(tmp_path: Path) -> None:
    mine = write_plugin(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    for paths, said in (
        ([tmp_path / "spec.yaml"], r"spec\.yaml: expected a Python file"),
        ([tmp_path / "no.py"], r"no\.py: No such file"),
        ([mine, write_plugin(other)], "told apart by their names"),
    ):
        with pytest.raises(UnlearningError, match=said):
            load_plugins(paths)
    assert set(OBJECTIVES) == set(OBJECTIVES.shipped)


def test_its_lines_are_shown_where_the_file_is_not(tmp_path: Path) -> None:
    """As on another machine."""
    path = write_plugin(tmp_path)
    (file,) = read_plugins([path])
    path.unlink()
    file.run()
    loss = OBJECTIVES["scaled_ascent"].loss
    with pytest.raises(AttributeError) as caught:
        loss(None, None)  # type: ignore[arg-type]
    shown = "".join(traceback.format_exception(caught.value))
    assert f'File "{path}", line 15, in scaled_ascent' in shown
    assert "return -settings.factor * inputs.forget_nll()" in shown
    assert "-settings.factor" in inspect.getsource(loss)


ELSEWHERE = """
import pickle, sys
from trainables.objectives import OBJECTIVES, check_objective
from trainables.errors import UnlearningError
assert "scaled_ascent" not in OBJECTIVES
files = pickle.load(sys.stdin.buffer)
assert "scaled_ascent" not in set(OBJECTIVES), "unpickling runs nothing"
try:
    print(check_objective("scaled_ascent", {"factor": 3.0}), *files[0].provides)
except UnlearningError as error:
    print(error)
print("torch" in sys.modules)
"""


LOOKING = "from trainables.objectives import OBJECTIVES\nassert 'other' not in OBJECTIVES\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OBJECTIVE + REGISTER, "reduction='token' factor=3.0 objective"),
        (LOOKING + OBJECTIVE + REGISTER, "reduction='token' factor=3.0 objective"),
        ("import os\nassert os.getpid() == {pid}\n" + OBJECTIVE + REGISTER, "my_objective.py, line 2: AssertionError"),
    ],
    ids=["sound", "looks a name up", "broken there"],
)
def test_another_process_that_gets_a_file_runs_it_once_its_name_is_looked_up(
    tmp_path: Path, text: str, said: str
) -> None:
    """The mistake is raised by the look-up, as a user's mistake, and not by whatever unpickles."""
    path = write_plugin(tmp_path, text.replace("{pid}", str(os.getpid())))
    sent = pickle.dumps(load_plugins([path]))
    path.unlink()
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], input=sent, capture_output=True, check=True)
    found, torch = done.stdout.decode().splitlines()
    assert said in found
    assert torch == "False"


def test_here_a_file_that_comes_back_is_not_run_again(tmp_path: Path) -> None:
    files = load_plugins([write_plugin(tmp_path)])
    assert pickle.loads(pickle.dumps(files)) == files
    assert "unknown" not in OBJECTIVES, "which runs what waits"
    assert not plugin_files._WAITING
