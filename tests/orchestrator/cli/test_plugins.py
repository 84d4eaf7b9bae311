"""The option --plugin reaches every command that reads a spec to run it, and jobs elsewhere."""

import sys
from types import SimpleNamespace

import pytest
import yaml

from orchestrator.cli import main
from orchestrator.cli.commands import jobs, running
from orchestrator.cluster import submission
from orchestrator.spec import dump_spec, load_spec
from tests.orchestrator.helpers import spec_data
from tests.plugins import OBJECTIVE, REGISTER, write_plugin
from trainables.objectives import OBJECTIVES
from trainables.plugins import plugin_files, read_plugins

SPACE = {
    "learning_rate": 1e-3,
    "batch_size": 4,
    "objective": {"choices": {"scaled_ascent": {"factor": 2.0}, "npo": {}}},
}


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch):
    monkeypatch.setattr(plugin_files, "_RAN", {})
    yield
    for name in set(OBJECTIVES) - set(OBJECTIVES.shipped):
        del OBJECTIVES[name]


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(spec_data(search={"space": SPACE})))
    return str(path)


def call(*arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["unlearn-sweep", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


@pytest.mark.parametrize("command", ["plan", "run", "doctor", "submit"])
def test_without_it_the_name_is_unknown_and_the_message_says_what_may_be_missing(
    command, spec, tmp_path, monkeypatch, capsys
):
    place = () if command == "plan" else ("--storage", tmp_path / "sweeps")
    assert call(command, spec, *place, monkeypatch=monkeypatch) == 2
    said = capsys.readouterr().err
    assert "unknown objective 'scaled_ascent'" in said
    assert "one of your own comes with --plugin FILE.py or an installed package" in said


def test_run_and_doctor_pass_the_file_on_and_the_spec_keeps_nothing_of_it(spec, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(running, "run_and_show", lambda spec, **_: seen.append(spec))
    monkeypatch.setattr("orchestrator.run.examine", lambda spec, **_: seen.append(spec) or [])
    plugin = write_plugin(tmp_path)
    for command in ("run", "doctor"):
        assert call(command, spec, "--storage", tmp_path, "--plugin", plugin, monkeypatch=monkeypatch) == 0
    assert [[file.path for file in spec.plugins] for spec in seen] == [[str(plugin)]] * 2
    assert {config.objective: config.objective_settings for config in seen[0].corner_configs} == {
        "scaled_ascent": {"factor": 2.0},
        "npo": {},
    }
    assert "my_objective" not in dump_spec(seen[0])
    assert load_spec(spec).plugins == ()


def test_plan_shows_what_such_a_sweep_costs(spec, tmp_path, monkeypatch, capsys):
    plugin = write_plugin(tmp_path)
    assert call("plan", spec, "--no-estimate", "--plugin", plugin, monkeypatch=monkeypatch) == 0
    assert "plan of sweep 'tiny'" in capsys.readouterr().out


def test_the_schema_knows_its_settings_and_the_reference_what_is_shipped(tmp_path, monkeypatch, capsys):
    text = (OBJECTIVE + REGISTER).replace('    """Factor of the ascent."""\n', "")
    plugin = write_plugin(tmp_path, text)
    assert call("spec", "--schema", "--plugin", plugin, monkeypatch=monkeypatch) == 0
    assert '"factor"' in capsys.readouterr().out, "though it is not described"
    assert call("spec", "--reference", "--plugin", plugin, monkeypatch=monkeypatch) == 2
    assert "--plugin goes with --schema" in capsys.readouterr().err
    assert call("spec", "--reference", monkeypatch=monkeypatch) == 0
    assert "scaled_ascent" not in capsys.readouterr().out


class FakeJobs:
    """Keeps what is submitted: the arguments, and the files of the folder that goes along."""

    address = "http://cluster"

    def __init__(self):
        self.submitted = []

    def submit(self, arguments, *, folder, **_):
        given = [arguments[i + 1] for i, word in enumerate(arguments) if word == "--plugin"]
        self.submitted.append((arguments, {name: (folder / name).read_bytes() for name in given}))
        return "job"

    def wait(self, job_id):
        return SimpleNamespace(exit_code=0)


def test_a_job_gets_the_files_along_and_is_looked_at_with_them(tmp_path):
    plugins = read_plugins([write_plugin(tmp_path), write_plugin(tmp_path, "other", "an other.py")])
    there = FakeJobs()
    submission.submit_sweep(there, load_spec("demo").with_plugins(plugins), storage="s3://bucket")
    submission.submit_resume(there, "demo", storage="s3://bucket", plugins=plugins)
    assert [
        "doctor" in arguments or "run" in arguments or "resume" in arguments for arguments, _ in there.submitted
    ] == [True] * 3
    for _, files in there.submitted:
        assert files == {"plugin-files/my_objective.py": plugins[0].source, "plugin-files/an other.py": b"other"}


def test_resume_elsewhere_sends_the_file_and_runs_nothing_here(tmp_path, monkeypatch):
    there = FakeJobs()
    monkeypatch.setattr(running, "connect", lambda address: there)
    monkeypatch.setattr(running, "show_submitted", lambda *_, **__: None)
    plugin = write_plugin(tmp_path, "raise SystemExit(9)\n")
    arguments = ("resume", "s3://bucket/demo", "--address", "http://cluster", "--plugin", plugin)
    assert call(*arguments, monkeypatch=monkeypatch) == 0
    ((_, files),) = there.submitted
    assert files == {"plugin-files/my_objective.py": b"raise SystemExit(9)\n"}


def test_submit_reads_the_spec_with_it(spec, tmp_path, monkeypatch):
    there = FakeJobs()
    monkeypatch.setattr(jobs, "connect", lambda address: there)
    monkeypatch.setattr(jobs, "show_submitted", lambda *_, **__: None)
    plugin = write_plugin(tmp_path)
    assert (
        call("submit", spec, "--storage", "s3://bucket", "--plugin", plugin, "--resume", monkeypatch=monkeypatch) == 0
    )
    assert len(there.submitted) == 2
    assert all(list(files) == ["plugin-files/my_objective.py"] for _, files in there.submitted)
