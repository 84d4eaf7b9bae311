"""The commands that the documents show, on a real sweep, one after another as a reader would type them."""

import re
from pathlib import Path

import duckdb
import pytest
import yaml

from search_spaces import shipped_specs
from tests.integration.helpers import TINY, call, unlearn_sweep
from tests.readme import WHOLE, commands_by_name, options_of, own_commands

ORDER = ("plan", "doctor", "run", "resume", "probe", "export")
TRIAL = "12ad78a2"
"""The trial that the documents export; here it is another."""


INLINE = ["--executor", "inline"]
"""Other tests start Ray for ``run`` and ``resume``; here they need none."""


def write_spec(folder: Path) -> None:
    """Write the reader's own spec: the tiny one, with one forget set and one trial."""
    spec = yaml.safe_load(TINY.read_text())
    spec |= {"name": "my-sweep", "steps": [1, 20], "checkpoint": {"every_s": 60}}
    del spec["data"]["forget_sets"]["personal_data"]
    spec["search"] |= {"sampler": "random", "trials": 1}
    del spec["search"]["startup_trials"]
    (folder / "my-sweep.yaml").write_text(yaml.safe_dump(spec))


def as_typed(arguments: list[str], index: int) -> list[str]:
    """Fill in what is the reader's: a trial of this sweep, a bound that it reaches, a name that is free; and no Ray.

    A shipped sweep takes minutes to hours, and is planned in place of being run.
    """
    if arguments[0] == "run" and arguments[1] in shipped_specs():
        return ["plan", *arguments[1:], "--no-estimate"]
    if "--executor" in arguments:
        return [*arguments, "--name", "other"]
    if arguments[0] != "export":
        return arguments + INLINE * ("--executor" in options_of(commands_by_name()[arguments[0]]))
    trials = duckdb.sql("select trial_id from 'sweeps/my-sweep/trials/*.parquet' where status = 'completed'").fetchall()
    filled = [re.sub(r"exposure<=\d+", "exposure<=1000", argument) for argument in arguments]
    return [argument.replace(TRIAL, trials[0][0][:8]) for argument in filled[:-1]] + [f"model-{index}"]


@pytest.mark.slow
def test_the_commands_that_are_shown_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(ORDER) == WHOLE
    shown = sorted(own_commands(*WHOLE), key=lambda arguments: ORDER.index(arguments[0]))
    shown = [a for a in shown if "--executor" not in a or "--executor" in options_of(commands_by_name()["run"])]
    assert {arguments[0] for arguments in shown} == WHOLE
    write_spec(tmp_path)
    monkeypatch.chdir(tmp_path)
    for index, arguments in enumerate(shown):
        run = unlearn_sweep if arguments[0] == "doctor" else call  # it tries Ray, as in a process that had none before
        done = run(*as_typed(arguments, index))
        assert done.returncode == 0, (arguments, done.stderr)
    steps = duckdb.sql("select max(step), count(distinct trial_id) from 'sweeps/my-sweep/evaluations/*.parquet'")
    assert steps.fetchall() == [(100, 12)]
