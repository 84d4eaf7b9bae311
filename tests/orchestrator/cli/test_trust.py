"""Only the command line can allow a model's own code, and the permission reaches everyone who loads the model."""

import sys
from types import SimpleNamespace

import pytest

from orchestrator.cli import main
from orchestrator.cli.commands import running
from orchestrator.cluster import submission
from orchestrator.spec import dump_spec, load_spec

FLAG = "--trust-remote-code"


def call(*arguments, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["unlearn-sweep", *map(str, arguments)])
    with pytest.raises(SystemExit):
        main()


@pytest.mark.parametrize("flags", [(), (FLAG,)])
def test_run_passes_it_on(flags, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(running, "run_and_show", lambda spec, **options: seen.append(spec))
    call("run", "demo", "--storage", tmp_path, *flags, monkeypatch=monkeypatch)
    (spec,) = seen
    assert spec.model.trust_remote_code is bool(flags)
    assert dump_spec(spec) == dump_spec(load_spec("demo")), "nothing of it is kept"


@pytest.mark.parametrize("flags", [(), (FLAG,)])
def test_doctor_passes_it_on(flags, monkeypatch):
    seen = []
    monkeypatch.setattr("orchestrator.run.examine", lambda spec, **options: seen.append(spec) or [])
    call("doctor", "demo", *flags, monkeypatch=monkeypatch)
    assert [spec.model.trust_remote_code for spec in seen] == [bool(flags)]


@pytest.mark.parametrize("flags", [(), (FLAG,)])
def test_a_cluster_is_looked_at_and_driven_with_it(flags, tmp_path):
    commands = []

    class Jobs:
        address = "http://cluster"

        def submit(self, arguments, **options):
            commands.append(arguments)
            return "job"

        def wait(self, job_id):
            return SimpleNamespace(exit_code=0)

    submission.submit_sweep(Jobs(), load_spec("demo"), storage="s3://bucket", options=list(flags))
    assert len(commands) == 2
    assert all((FLAG in command) is bool(flags) for command in commands)


@pytest.mark.parametrize("place", ["model.trust_remote_code", "model._trust_remote_code", "trust_remote_code"])
def test_a_spec_cannot_say_it(place, monkeypatch, capsys):
    call("plan", "demo", "--set", f"{place}=true", monkeypatch=monkeypatch)
    assert "not a valid sweep spec" in capsys.readouterr().err
