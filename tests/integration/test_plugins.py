"""A user's own objective in whole sweeps, from a file and from an installed package."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.helpers import INLINE, TINY, apart, call, own_numbers, rows, write_own_spec
from tests.plugins import OBJECTIVE, PYPROJECT, REGISTER, SHOWN, SHOWN_METRIC, fresh_registries, write_plugin

pytestmark = pytest.mark.slow


def fresh(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a new process would, with no plugin but those that it loads."""
    with fresh_registries():
        return call(*arguments)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_own_spec(tmp_path_factory.mktemp("spec")))


@pytest.fixture(scope="module")
def ascended(spec: str, storage: Path) -> Path:
    """The same sweep by the objective that is shipped, which the user's own with factor 1 repeats."""
    sweep = storage / "ascended"
    done = fresh(
        "run", spec, "--set", "search.space.objective=gradient_ascent", "--storage", str(storage), "--name", sweep.name,
        *INLINE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return sweep


def test_a_plugin_file_reaches_what_does_the_work(spec: str, ascended: Path, storage: Path, tmp_path: Path) -> None:
    """The file is the one that the documents show; test_submit.py has it reach the workers of Ray."""
    plugin = write_plugin(tmp_path, SHOWN)
    done = fresh("run", spec, "--plugin", str(plugin), "--storage", str(storage), "--name", "own", *INLINE)
    assert done.returncode == 0, done.stderr
    sweep = storage / "own"
    for table in ("evaluations", "examples"):
        assert own_numbers(sweep, table) == own_numbers(ascended, table)
    assert {row["objective"] for row in rows(sweep, "evaluations")} == {"scaled_ascent"}
    (record,) = json.loads((sweep / "sweep.json").read_text())["plugins"]
    sha256 = subprocess.run(["sha256sum", plugin], capture_output=True, text=True, check=True).stdout.split()[0]
    assert (record["file"], record["sha256"]) == ("my_objective.py", sha256)
    assert record["provides"] == {"objective": ["scaled_ascent"]}
    assert str(tmp_path) not in (sweep / "sweep.json").read_text() + (sweep / "spec.yaml").read_text()


@pytest.fixture(scope="module")
def own(spec: str, storage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of a plugin file, which is gone."""
    plugin = write_plugin(tmp_path_factory.mktemp("plugin"))
    done = fresh("run", spec, "--plugin", str(plugin), "--storage", str(storage), "--name", "without", *INLINE)
    assert done.returncode == 0, done.stderr
    plugin.unlink()
    return storage / "without"


@pytest.mark.parametrize("command", ["status", "report"])
def test_results_are_read_without_the_plugin(own: Path, command: str) -> None:
    done = call(command, str(own))
    assert done.returncode == 0, done.stderr


def test_what_runs_a_trial_says_which_plugin_is_missing(own: Path, tmp_path: Path) -> None:
    trial = rows(own, "trials")[0]["trial_id"]
    export = ("export", str(own), "--trial", trial, "--step", "2", "--to", str(tmp_path / "model"))
    for arguments in (("resume", str(own), "--steps", "4", *INLINE), export):
        done = fresh(*arguments)
        assert done.returncode == 2, done.stderr
        assert "objective 'scaled_ascent' is of the plugin file 'my_objective.py' (SHA-256 " in done.stderr
        assert "add --plugin my_objective.py" in done.stderr
        assert "Traceback" not in done.stderr
    done = fresh(*export, "--plugin", str(write_plugin(tmp_path)))
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "model" / "provenance.json").read_text())
    assert facts["verification"]["largest_difference"] == 0
    assert [plugin["file"] for plugin in facts["exported_with"]["plugins"]] == ["my_objective.py"]


def test_a_sweep_from_elsewhere_names_no_plugin_that_is_run(own: Path, tmp_path: Path) -> None:
    """Neither by what it says of plugins, nor by an objective's name, nor by what lies in its folder."""
    sweep = tmp_path / "without"
    shutil.copytree(own, sweep)
    trap = f"open({str(tmp_path / 'sprung')!r}, 'w')\n" + OBJECTIVE + REGISTER
    for place in (sweep, sweep / "plugins", sweep / "plugin-files"):
        place.mkdir(exist_ok=True)
        write_plugin(place, trap)
    manifest = json.loads((sweep / "sweep.json").read_text())
    for record in manifest["plugins"]:
        record |= {"file": str(sweep / "my_objective.py"), "path": str(sweep / "my_objective.py"), "source": trap}
    (sweep / "sweep.json").write_text(json.dumps(manifest))
    done = apart("resume", str(sweep), "--steps", "4", *INLINE, cwd=sweep)
    assert done.returncode == 2
    assert "add --plugin" in done.stderr
    for override in ("plugins=[my_objective.py]", "plugin=my_objective.py", "search.plugins=[my_objective.py]"):
        done = call("plan", str(TINY), "--set", override, "--no-estimate")
        assert done.returncode == 2
        assert "unknown key 'plugin" in done.stderr
    named = fresh("plan", str(TINY), "--set", f"search.space.objective={sweep}/my_objective.py", "--no-estimate")
    assert named.returncode == 2
    assert "unknown objective" in named.stderr
    assert not (tmp_path / "sprung").exists()


def test_a_changed_plugin_warns_as_changed_code_does_and_a_comment_does_not(own: Path, tmp_path: Path) -> None:
    def resumed(text: str, steps: str) -> str:
        done = fresh("resume", str(own), "--steps", steps, *INLINE, "--plugin", str(write_plugin(tmp_path, text)))
        assert done.returncode == 0, done.stderr
        return done.stderr

    assert "my_objective.py" not in resumed("# a comment\n" + OBJECTIVE + REGISTER, "4")
    changed = OBJECTIVE.replace("-settings.factor *", "-1.0 * settings.factor *")
    assert changed != OBJECTIVE
    assert "objective 'scaled_ascent': was of the plugin file my_objective.py, SHA-256 " in resumed(
        changed + REGISTER, "5"
    )
    (*_, last) = json.loads((own / "sweep.json").read_text())["resumed"]
    assert any("scaled_ascent" in line for line in last["changes"]["code"])


def test_an_installed_package_needs_no_option(spec: str, ascended: Path, storage: Path, tmp_path: Path) -> None:
    """A real package, built and installed by pip, into a folder of its own."""
    project, site = tmp_path / "project", tmp_path / "site"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        PYPROJECT.format(
            name="my-objective", version="0.3", module="own_objective", entries='scaled_ascent = "own_objective:SCALED"'
        )
    )
    (project / "own_objective.py").write_text(OBJECTIVE)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--target", site, project], check=True)

    def with_package(*arguments: str) -> subprocess.CompletedProcess[str]:
        return apart(*arguments, PYTHONPATH=str(site))

    sweep = storage / "packaged"
    done = with_package("run", spec, "--storage", str(storage), "--name", sweep.name, *INLINE)
    assert done.returncode == 0, done.stderr
    assert own_numbers(sweep, "evaluations") == own_numbers(ascended, "evaluations")
    (record,) = json.loads((sweep / "sweep.json").read_text())["plugins"]
    assert (record["package"], record["version"], record["provides"]) == (
        "my-objective", "0.3", {"objective": ["scaled_ascent"]},
    )  # fmt: skip
    missing = apart("resume", str(sweep), "--steps", "4", *INLINE)
    assert missing.returncode == 2
    assert "objective 'scaled_ascent' is of the package my-objective 0.3; install it" in missing.stderr
    schema = json.loads(with_package("spec", "--schema").stdout)["$defs"]["Space"]["properties"]
    assert "scaled_ascent" in json.dumps(schema["objective"])
    assert "factor" in schema
    reference = Path(__file__).parents[2] / "search_spaces" / "REFERENCE.md"
    assert with_package("spec", "--reference").stdout == reference.read_text(), "which has what is shipped"


def test_a_metric_of_a_plugin_file_fills_the_map_columns(spec: str, storage: Path, tmp_path: Path) -> None:
    """The file is the one that the documents show."""
    plugin = write_plugin(tmp_path, SHOWN_METRIC, "my_metric.py")
    chosen = ("--set", "search.space.objective=gradient_ascent", "--set", "evaluation.metrics=[surprise, mia_loss]")
    where = ("--storage", str(storage), "--name", "surprised", *INLINE)
    refused = fresh("run", spec, *chosen, *where)
    assert refused.returncode == 2
    assert "evaluation.metrics: unknown metric 'surprise'" in refused.stderr
    assert "one of your own comes with --plugin FILE.py" in refused.stderr
    done = fresh("run", spec, *chosen, "--plugin", str(plugin), *where)
    assert done.returncode == 0, done.stderr
    sweep = storage / "surprised"
    examples: dict[tuple[str, int], list[float]] = {}
    for row in rows(sweep, "examples"):
        assert row["other_metrics"] == [("surprise", row["nll"])]
        assert row["mia_loss"] == row["nll"]
        assert row["mia_zlib"] is None, "not chosen"
        examples.setdefault((row["trial_id"], row["step"]), []).append(row["nll"])
    evaluations = rows(sweep, "evaluations")
    for row in evaluations:
        assert row["other_metrics"] == [("surprise_max", max(examples[row["trial_id"], row["step"]]))]
    assert evaluations[0]["mia_loss_auc"] == evaluations[0]["membership_auc"]
    query = "select max(other_metrics['surprise_max']) as most from evaluations"
    asked = call("query", str(sweep), query, "--format", "json")
    assert json.loads(asked.stdout) == [{"most": max(row["other_metrics"][0][1] for row in evaluations)}]
    assert call("frontier", str(sweep)).returncode == 0, "results are read without the plugin"
    again = fresh("resume", str(sweep), "--steps", "4", *INLINE)
    assert again.returncode == 2
    assert "metric 'surprise' is of the plugin file 'my_metric.py'" in again.stderr
