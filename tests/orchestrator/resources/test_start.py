"""How the command starts and fails: its path, the locale, a Ray that does not start."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray
from ray.tune.execution import class_cache

from orchestrator.cli import app as cli
from orchestrator.errors import RunStoppedError, SweepError
from orchestrator.ledger import open_sweep
from orchestrator.resources import local_ray
from orchestrator.resources import sessions as ray_session
from orchestrator.resources.ray_environment import AHEAD, give_actors_no_variables, importing_ahead
from orchestrator.spec import ResourcesConfig, dump_spec, stored_spec
from tests.limits import HANG_S
from tests.orchestrator.helpers import make_spec


def test_python_m_does_not_import_from_the_current_folder(tmp_path):
    for name in ("yaml", "typer", "duckdb", "random", "statistics"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('taken for a library')\n")
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "query", "--schema"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_ctrl_c_while_modules_are_imported_leaves_no_traceback():
    program = (
        "import sys\nclass Interrupted:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'orchestrator.cli.app': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\nfrom orchestrator.__main__ import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")


def test_a_table_is_printed_in_a_locale_that_lacks_its_characters():
    locale = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PATH": ""}
    code = "import sys; sys.argv[1:] = ['plan', '--no-estimate']; from orchestrator.cli.app import main; main()"
    text = r"from orchestrator.cli.console import out; out().print('\u2264 \u00b1 \u2014')"
    for program in (code, f"from orchestrator.cli.console import print_whatever_the_locale as p; p(); {text}"):
        done = subprocess.run([sys.executable, "-c", program], env=locale, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        assert done.stdout.isascii()


@pytest.fixture
def no_ray(monkeypatch):
    """A Ray that does not start."""

    def init(**_):
        raise Exception("The current node timed out during startup.\nA dump\nof many lines")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def test_a_ray_that_does_not_start_is_one_message_and_nothing_was_begun(no_ray, tmp_path, monkeypatch, capsys):
    spec = tmp_path / "spec.yaml"
    spec.write_text(dump_spec(make_spec()))
    monkeypatch.setattr(sys, "argv", ["unlearn-sweep", "run", str(spec), "--storage", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = " ".join(capsys.readouterr().err.split())
    assert ended.value.code == 1
    assert "Ray did not start on this machine (The current node timed out during startup.)" in said
    assert "unlearn-sweep doctor" in said
    assert said.endswith("stopped; nothing was begun")
    assert "many lines" not in said
    monkeypatch.setattr(sys, "argv", ["unlearn-sweep", "doctor", "--storage", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "NO  cluster: Ray did not start" in capsys.readouterr().out


def test_a_sweep_that_ended_before_ray_had_started_is_there_and_goes_on_or_begins_anew(
    no_ray, tmp_path, monkeypatch, capsys
):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["unlearn-sweep", *arguments])
        try:
            cli.main()
        except SystemExit as ended:
            return ended.code, capsys.readouterr()
        return 0, capsys.readouterr()

    spec = tmp_path / "spec.yaml"
    spec.write_text(dump_spec(make_spec()))
    run = ("run", str(spec), "--storage", str(tmp_path))
    assert call(*run)[0] == 1
    sweep = tmp_path / "tiny"
    assert stored_spec(open_sweep(str(sweep))) == make_spec()
    written = json.loads((sweep / "sweep.json").read_text())
    assert written["sweep"] == "tiny"
    assert written["workers"] == []
    for command, said in {
        ("status", str(sweep)): "0 of 8 trials proposed",
        ("query", str(sweep), "select count(*) as many from evaluations"): "many",
        ("frontier", str(sweep)): "nothing was evaluated yet",
        ("report", str(sweep)): "index.html",
        ("stop", str(sweep)): "nobody drives it now",
    }.items():
        code, printed = call(*command)
        assert code == 0, command
        assert said in printed.out + printed.err, command
    for again in (("resume", str(sweep)), run, (*run, "--set", "search.trials=5")):
        code, printed = call(*again)
        assert code == 1, printed.err
        assert "Ray did not start" in printed.err
    assert "trials: 5\n" in (sweep / "spec.yaml").read_text()


def test_a_ray_that_starts_late_is_started_again_and_leaves_no_process(tmp_path, monkeypatch):
    left = []

    def init(**_):
        left.append(subprocess.Popen(["sleep", "600"]))
        if len(left) < local_ray.START_ATTEMPTS:
            raise Exception("timed out")

    other = subprocess.Popen(["sleep", "600"])
    monkeypatch.setattr(ray, "init", init)
    local_ray._start(tmp_path, 1)
    *failed, started = left
    assert [process.wait(HANG_S) for process in failed] == [-signal.SIGKILL] * len(failed)
    assert (started.poll(), other.poll()) == (None, None)
    for process in (started, other):
        process.kill()
        process.wait()


def test_a_cluster_of_another_version_is_not_said_to_be_missing(monkeypatch):
    def init(**_):
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.50\n    Python: 3.12")

    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(SweepError, match="has another Ray or Python than this driver") as raised:
        ray_session.ray_session(ResourcesConfig(), workers=1).__enter__()
    assert "Ray: 2.50 Python: 3.12" in str(raised.value)


@pytest.mark.parametrize("error", [ray.exceptions.RaySystemError("lost"), ray.tune.TuneError("run failed")])
def test_a_failure_of_ray_itself_is_one_message(error, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    with (
        pytest.raises(RunStoppedError, match=type(error).__name__),
        ray_session.ray_session(ResourcesConfig(), workers=1),
    ):
        raise error


def test_tune_gives_its_actors_no_variables_neither_keys_nor_what_would_take_a_new_process():
    give_actors_no_variables()
    assert (set(), {}) == (class_cache.ENV_VARS_TO_PROPAGATE, class_cache.DEFAULT_ENV_VARS)


def test_tune_imports_no_tracker_that_happens_to_be_installed():
    program = """
import sys
import orchestrator.resources.ray_environment as ray_environment
from ray.tune import Callback
from ray.tune.tune import air_usage
if len(sys.argv) > 1:
    ray_environment.keep_trackers_out()
air_usage.tag_callbacks([Callback()])
print(sorted({"mlflow", "wandb"} & sys.modules.keys()))
"""
    for arguments, imported in ((["kept out"], "[]\n"), ([], "['mlflow', 'wandb']\n")):
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
        assert done.stdout == imported, done.stderr


@pytest.mark.parametrize(("gib", "workers", "ahead"), [(8, 2, True), (8, 64, False), (1, 2, False)])
def test_workers_import_ahead_where_there_is_memory_for_all_of_them(monkeypatch, gib, workers, ahead):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=gib * 2**30))
    variables = importing_ahead(workers)
    assert variables == ({"RAY_preload_python_modules": AHEAD} if ahead else {})


def test_what_workers_import_ahead_asks_cuda_for_nothing():
    """Ray names a worker's GPUs with its work: whoever has asked CUDA before sees those of the whole machine."""
    program = f"""
import importlib, torch
asked = []
for name in ("is_available", "device_count", "init", "_lazy_init", "current_device"):
    setattr(torch.cuda, name, lambda *_, name=name: asked.append(name))
importlib.import_module("{AHEAD}")
print(asked, torch.cuda.is_initialized())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[] False\n"), done.stderr


def test_what_workers_import_ahead_is_no_more_than_most_trials_take():
    heavy = {"peft", "datasets", "pytorch_optimizer", "ray.train.torch"}
    program = f"import sys, {AHEAD}; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_a_process_that_died_is_told_once_and_none_that_is_ended_by_the_end(monkeypatch):
    monkeypatch.setattr(local_ray, "WATCH_EVERY_S", 0.01)
    monkeypatch.setattr(local_ray, "_VITAL", {"sleep"})
    for kill in (True, False):
        process = subprocess.Popen(["sleep", "600"])
        local_ray.psutil.Process(process.pid).name()
        told = []
        with local_ray._watched(Path("folder"), told.append, "") as ending:
            if kill:
                process.kill()
                process.wait()
                while not told:
                    pass
            ending.set()
            process.kill()
        process.wait()
        assert [str(error)[:28] for error in told] == ["Ray's process 'sleep' has di"] * kill
