"""Commands that only read answer at once: none of them loads a library that takes seconds."""

import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest
import yaml

from orchestrator.driver import Interrupt, lease
from orchestrator.storage import LocalStorage
from tests.integration.helpers import TELLING_MODULES
from tests.orchestrator.helpers import make_spec, spec_data, write_sweep
from tests.support import tiny_architecture

HEAVY = {
    "torch", "transformers", "accelerate", "peft", "datasets", "pytorch_optimizer", "ray", "optuna", "scipy",
    "matplotlib", "altair", "lifelines", "statsmodels",
}  # fmt: skip
FIXED = {"learning_rate": 1e-3, "batch_size": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sweep ``sweeps/tiny`` and some specs."""
    folder = tmp_path_factory.mktemp("light")
    write_sweep(folder / "sweeps", make_spec())
    write_sweep(folder / "sweeps", make_spec(name="driven"))
    every = {
        "choices": {
            "wga": {"beta": {"low": 0.1, "high": 1.0}, "retain_loss": ["nll", "kl"]},
            "npo": {"objective_beta": 0.1},
        }
    }
    specs = {
        "spec.yaml": spec_data(model={"architecture": tiny_architecture()}),
        "broken.yaml": spec_data(search={"space": {**FIXED, "objective": "gradient_assent"}}),
        "gp.yaml": spec_data(search={"sampler": "gp", "startup_trials": 2}),
        "grid.yaml": spec_data(
            search={"sampler": "grid", "trials": None, "space": {**FIXED, "learning_rate": [1e-4, 1e-3]}}
        ),
        "objectives.yaml": spec_data(search={"space": {**FIXED, "objective": every}}),
    }
    for name, data in specs.items():
        (folder / name).write_text(yaml.safe_dump(data))
    return folder


def run(
    folder: Path, *arguments: str, watched: Collection[str] = HEAVY
) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run a command; return how it ended, and which of the watched libraries it has loaded."""
    done = subprocess.run(
        [sys.executable, "-c", TELLING_MODULES, "modules.json", *arguments], cwd=folder, capture_output=True, text=True
    )
    modules = json.loads((folder / "modules.json").read_text())
    assert "orchestrator.cli.app" in modules
    return done, {name.partition(".")[0] for name in modules} & set(watched)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "Map what it costs"),
        (["status"], 0, "trials proposed"),
        (["status", "tiny", "--json"], 0, '"trials": 8'),
        (["stop", "tiny"], 0, "nobody drives it now"),
        (["frontier", "tiny"], 0, "Pareto points"),
        (["frontier", "tiny", "--json"], 0, "forget_set"),
        (["query", "tiny", "select count(*) as n from trials"], 0, "8"),
        (["query", "--schema"], 0, "unlearning_quality"),
        (["spec", "--reference"], 0, "### `search`"),
        (["spec", "--schema"], 0, "json-schema.org"),
        (["merge", "tiny"], 0, "merged"),
        (["plan", "--no-estimate"], 0, "plan of sweep 'demo'"),
        (["plan", "spec.yaml", "--no-estimate"], 0, "plan of sweep 'tiny'"),
        (["plan", "gp.yaml", "--no-estimate", "--json"], 0, '"trials"'),
        (["plan", "grid.yaml", "--no-estimate", "--set", "resources.gpus_per_trial=0"], 0, "plan of sweep"),
        (["plan", "objectives.yaml", "--no-estimate"], 0, "plan of sweep 'tiny'"),
        (["plan", "spec.yaml", "--no-estimate"], 0, "texts, token lengths and the model were not checked"),
        (
            ["plan", "spec.yaml", "--no-estimate", "--set", "data.forget_sets.verses.population=2"],
            2,
            "data.forget_sets.verses.population: 2 examples, so that relative exposure ends at 1.00 bits",
        ),
        (["plan", "spec.yaml", "--no-estimate", "--set", "data.heldout=5"], 0, "data.heldout: 5 examples"),
        (["plan", "broken.yaml"], 2, "did you mean 'gradient_ascent'?"),
        (["run", "broken.yaml"], 2, "did you mean 'gradient_ascent'?"),
        (["doctor", "broken.yaml"], 2, "did you mean 'gradient_ascent'?"),
        (["run", "nosuch.yaml"], 2, "No such file"),
        (
            ["run", "spec.yaml", "--set", "search.space.optimizer=adamv", "--set", "search.space.learning_rate=0.1"],
            2,
            "did you mean 'adamw'?",
        ),
        (["run", "spec.yaml", "--set", "search.trails=3"], 2, "did you mean 'trials'?"),
        (["resume", "tiny", "--set", "steps=[3, 2]"], 2, "strictly increasing"),
        (["resume", "nosuch"], 2, "no sweep at"),
        (["status", "nosuch"], 2, "no sweep at"),
        (["frontier", "tiny", "--after", "relearning"], 2, "no point was probed so"),
        (["probe", "tiny", "--probe", "relearnin"], 2, "did you mean 'relearning'?"),
        (["probe", "tiny", "--best", "exposure<=0"], 2, "none of"),
    ],
)
def test_a_command_that_reads_loads_no_library_that_takes_seconds(folder, arguments, code, said):
    done, heavy = run(folder, *arguments)
    assert (done.returncode, heavy) == (code, set()), done.stderr
    assert said in done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "spec.yaml", "--no-estimate"], ["run", "broken.yaml"]])
def test_a_command_that_reads_no_table_loads_no_pandas(folder, arguments):
    _, heavy = run(folder, *arguments, watched={"pandas"})
    assert heavy == set()


def test_a_file_whose_examples_are_counted_loads_no_model_library(folder, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(folder / "cache"))
    (folder / "retain.jsonl").write_text("".join(f'{{"text": "text {i}"}}\n' for i in range(30)))
    settings = ("data.retain=null", "data.retain_source={path: retain.jsonl}", "preparation.batch_size=39")
    done, heavy = run(
        folder, "plan", "spec.yaml", "--no-estimate", *(part for setting in settings for part in ("--set", setting))
    )
    assert done.returncode == 2, done.stderr
    assert heavy & {"torch", "transformers", "ray"} == set()
    assert "datasets" in heavy
    assert "preparation.batch_size: 39, and an epoch has 38 examples" in done.stderr


@pytest.mark.parametrize(
    "command", [["run", "spec.yaml", "--resume", "--name", "driven"], ["resume", "driven"], ["probe", "driven"]]
)
def test_a_second_driver_is_refused_before_anything_is_loaded(folder, command):
    with lease(LocalStorage(folder / "sweeps" / "driven"), "driven", Interrupt()):
        done, heavy = run(folder, *command)
    assert (done.returncode, heavy) == (2, set()), done.stderr
    assert "is driven by host" in done.stderr
    assert "--take-over" in done.stderr


def test_the_check_sees_what_a_command_loads(folder):
    done, heavy = run(folder, "plan", "spec.yaml")
    assert done.returncode == 0, done.stderr
    assert {"torch", "transformers"} <= heavy
    assert heavy & {"peft", "datasets", "pytorch_optimizer", "optuna"} == set()
