"""A sweep from spec to frontier, through Ray, Optuna and Accelerate, on real files."""

import json
import shutil
import sys
from pathlib import Path

import duckdb
import pytest

from orchestrator.ledger import DriverWriter, Ledger, TrialWriter
from orchestrator.preparation import ModelCache, build_workload
from orchestrator.preparation.model_identity import model_tasks
from orchestrator.search import SweepSearch
from orchestrator.spec import load_spec
from orchestrator.storage import LocalStorage
from tests.integration.helpers import INLINE, MODULES, TELLING_MODULES, TINY, call, rows, unlearn_sweep
from tests.orchestrator.helpers import PROPOSAL
from tests.support import run_to_end
from trainables.config import TrialConfig
from trainables.data import build_datasets
from trainables.records import Trial
from trainables.trial import Engine

pytestmark = pytest.mark.slow


def test_every_trial_is_evaluated_at_every_point_of_the_axis(ray_sweep: Path) -> None:
    spec = load_spec(TINY)
    trials = rows(ray_sweep, "trials")
    assert len(trials) == 8
    assert {trial["status"] for trial in trials} == {"completed"}
    evaluations = rows(ray_sweep, "evaluations")
    for trial in trials:
        assert [e["step"] for e in evaluations if e["trial_id"] == trial["trial_id"]] == [0, *spec.steps]
    assert len(rows(ray_sweep, "examples")) == len(evaluations) * 8


def test_the_process_that_drives_a_new_sweep_loads_no_pytorch(ray_sweep: Path) -> None:
    modules = json.loads((ray_sweep.parent / MODULES).read_text())
    assert {"orchestrator.run.session", "ray.tune"} <= set(modules)
    assert {"torch", "transformers", "accelerate", "peft", "datasets"} & set(modules) == set()


def test_a_sweep_by_each_executor_is_the_same_bit_for_bit_and_inline_loads_no_ray(
    ray_sweep: Path, tmp_path: Path
) -> None:
    """Models are trained anew, too: the storage is another one. What a profiler records changes no number."""
    command = [sys.executable, "-c", TELLING_MODULES, str(tmp_path / "modules.json")]
    done = unlearn_sweep("run", str(TINY), "--storage", str(tmp_path), "--profile", *INLINE, command=command)
    assert done.returncode == 0, done.stderr
    (trace,) = (tmp_path / "tiny" / "profiles").iterdir()
    assert f"profile: {trace} (open it at https://ui.perfetto.dev)" in done.stdout
    assert trace.name.removesuffix(".json.gz") in {trial["trial_id"] for trial in rows(tmp_path / "tiny", "trials")}
    assert not list(ray_sweep.glob("profiles/*"))
    modules = json.loads((tmp_path / "modules.json").read_text())
    assert {"orchestrator.run.executors.inline", "torch"} <= set(modules)
    assert "ray" not in modules
    for table in ("trials", "evaluations", "examples"):
        assert rows(tmp_path / "tiny", table) == rows(ray_sweep, table)
    for name in ("baselines", "forget_sets"):
        file = f"references/{name}.parquet"
        assert (tmp_path / "tiny" / file).read_bytes() == (ray_sweep / file).read_bytes()


def test_the_sweep_can_be_queried_by_the_command_and_by_plain_duckdb_alike(ray_sweep: Path) -> None:
    sql = "select forget_set, count(*) n, count(distinct trial_id) t from {} group by 1 order by 1"
    done = call("query", str(ray_sweep), sql.format("evaluations"), "--format", "json")
    assert done.returncode == 0, done.stderr
    plain = duckdb.sql(sql.format(f"read_parquet('{ray_sweep}/evaluations/*.parquet')")).fetchall()
    assert (
        [tuple(row.values()) for row in json.loads(done.stdout)]
        == plain
        == [("personal_data", 36, 4), ("verses", 36, 4)]
    )


def test_frontier_prints_a_table_and_json(ray_sweep: Path) -> None:
    done = call("frontier", str(ray_sweep))
    assert done.returncode == 0, done.stderr
    assert "verses (in-distribution)" in done.stdout
    assert "the price of mean GenEx 0" in done.stdout
    assert "the price of mean RelEx 1.44" in done.stdout
    result = json.loads(call("frontier", str(ray_sweep), "--json", "--forget-set", "verses").stdout)
    assert [f["forget_set"] for f in result] == ["verses"]
    assert result[0]["points"]
    assert result[0]["hypervolume"] > 0


def test_the_manifest_says_what_was_run(ray_sweep: Path) -> None:
    manifest = json.loads((ray_sweep / "sweep.json").read_text())
    assert set(manifest["models"]) == {"base", "reference-0", "reference-1"}
    assert manifest["threads_per_trial"] == 1
    assert manifest["packages"]["ray"]
    assert manifest["seeds"]["strata"] == [0]
    (worker,) = manifest["workers"]
    assert worker["cpu"]
    assert worker["memory"] > 2**30
    assert len(manifest["data_hash"]) == 64


def test_a_finished_sweep_is_merged(ray_sweep: Path) -> None:
    for table in ("trials", "evaluations", "examples"):
        (merged,) = ray_sweep.glob(f"merged/{table}-*.parquet")
        count = duckdb.sql(f"select count(*) from '{merged}'").fetchall()[0][0]
        assert count == len(rows(ray_sweep, table))


def test_base_exposes_its_forget_sets_and_references_do_not(ray_sweep: Path) -> None:
    found = duckdb.sql(f"from read_parquet('{ray_sweep}/references/baselines.parquet')").df()
    assert len(found) == 6
    base = found[found.model == "base"].gen_ex
    references = found[found.model != "base"].gen_ex
    assert base.min() > references.max()


def test_references_are_measured_against_each_other_and_prices_on_data_of_their_own_kind(ray_sweep: Path) -> None:
    baselines = duckdb.sql(f"from read_parquet('{ray_sweep}/references/baselines.parquet')").df()
    for name, own in baselines.groupby("forget_set"):
        first, second = own[own.model != "base"].to_dict("records")
        assert first["gen_ex"] == pytest.approx(-second["gen_ex"]), "of two, each is measured against the other"
        assert first["gen_ex_abs"] == pytest.approx(second["gen_ex_abs"])
        assert first["gen_ex_abs"] == first["unlearning_quality"] > 0
        evaluations = [row for row in rows(ray_sweep, "evaluations") if row["forget_set"] == name]
        for row in [*own.astype(object).where(own.notna(), None).to_dict("records"), *evaluations]:
            assert row["population_nll"] > 0
            assert (row["distractor_nll"] is None) == (name == "verses")


def test_every_trial_begins_with_the_base_model_as_it_was_measured(ray_sweep: Path) -> None:
    baselines = duckdb.sql(f"from '{ray_sweep}/references/baselines.parquet' where model = 'base'").to_arrow_table()
    measured = {row["forget_set"]: row for row in baselines.to_pylist()}
    found = [row for row in rows(ray_sweep, "evaluations") if row["step"] == 0]
    assert len(found) == 8
    for row in found:
        expected = {name: value for name, value in measured[row["forget_set"]].items() if name in row}
        assert {name: row[name] for name in expected} == expected, "bit for bit"
        assert (row["status"], row["tokens_seen"]) == ("completed", 0)


def test_exposure_before_and_after_by_example_is_a_join(ray_sweep: Path) -> None:
    """Memorization is the same before, from what was measured otherwise."""
    sql = """
        select before.gen_ex as before, before.memorization * before.num_tokens / ln(2) as memorized
        from examples after join examples before using (sweep, trial_id, forget_set, example_id)
        join forget_examples using (sweep, forget_set, example_id)
        where after.step = 30 and before.step = 0
    """
    done = call("query", str(ray_sweep), sql, "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 8 * 8
    for row in found:
        assert row["before"] == pytest.approx(row["memorized"], rel=1e-9)


def test_trials_of_one_setting_are_told_by_its_id(ray_sweep: Path) -> None:
    trials = {row["trial_id"]: row for row in rows(ray_sweep, "trials")}
    for row in trials.values():
        assert row["settings"].startswith(f"gradient_ascent · {row['optimizer']} lr=")
        assert " · batch 4" in row["settings"]
    for row in rows(ray_sweep, "evaluations"):
        trial = trials[row["trial_id"]]
        assert (row["settings"], row["setting_id"]) == (trial["settings"], trial["setting_id"])


def test_the_texts_that_were_unlearned_stand_beside_their_numbers(ray_sweep: Path) -> None:
    texts = duckdb.sql(f"from read_parquet('{ray_sweep}/references/forget_sets.parquet')").df()
    assert set(texts.example_id) == {row["example_id"] for row in rows(ray_sweep, "examples")}
    assert texts.completion.str.len().min() > 0


def test_running_again_finds_nothing_left_to_do(ray_sweep: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in ray_sweep.rglob("*.parquet")}
    done = call("run", str(TINY), "--storage", str(ray_sweep.parent))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("nothing left to do: 8 trials"), "what goes on is said on standard error"
    assert {path: path.stat().st_mtime_ns for path in ray_sweep.rglob("*.parquet")} == before


def test_a_reused_actor_gives_what_a_fresh_engine_gives_bit_for_bit(ray_sweep: Path, tmp_path: Path) -> None:
    spec = load_spec(TINY)
    datasets = build_datasets(spec.data)
    cache = ModelCache(LocalStorage(ray_sweep.parent))
    mine = Ledger(storage=LocalStorage(tmp_path), sweep="tiny")
    workload, _ = build_workload(spec, datasets, model_tasks(spec, datasets), cache, mine)
    for row in Ledger(storage=LocalStorage(ray_sweep), sweep="tiny").trials():
        trial = Trial(
            trial_id=row["trial_id"],
            forget_set=row["forget_set"],
            seed=row["seed"],
            config=TrialConfig.model_validate_json(row["config"]),
            steps=spec.steps,
            horizon=None,
        )
        DriverWriter(mine).propose(trial, number=row["number"], distribution=row["distribution"], proposal=PROPOSAL)
        run_to_end(Engine(workload), trial, TrialWriter(mine))
    assert rows(tmp_path, "evaluations") == rows(ray_sweep, "evaluations")
    assert rows(tmp_path, "examples") == rows(ray_sweep, "examples")


def test_the_ledger_rebuilds_a_search_with_nothing_pending(ray_sweep: Path) -> None:
    manifest = json.loads((ray_sweep / "sweep.json").read_text())
    ledger = Ledger(storage=LocalStorage(ray_sweep), sweep="tiny")
    search = SweepSearch(load_spec(TINY), ledger, workload_hashes=[manifest["workload_hash"]], concurrent_trials=2)
    assert search.is_exhausted()
    observed = sum(len(stratum.study.get_trials()) for stratum in search.studies.values())
    assert observed == len([row for row in rows(ray_sweep, "evaluations") if row["step"] > 0])
    assert all(t.state.is_finished() for s in search.studies.values() for t in s.study.get_trials())


def test_probes_by_ray_find_what_they_find_in_this_process(ray_sweep: Path, tmp_path: Path) -> None:
    chosen = ("--forget-set", "verses", "--frontier", "2", "--probe", "quantization", "--json")
    for name, run, options in (("ray", unlearn_sweep, ()), ("inline", call, INLINE)):
        for folder in (".models", "tiny"):
            shutil.copytree(ray_sweep.parent / folder, tmp_path / name / folder)
        done = run("probe", str(tmp_path / name / "tiny"), *chosen, *options)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert (said["done"], said["done_before"], said["failed"]) == (5, 0, [])
    found = rows(tmp_path / "ray" / "tiny", "probes")
    assert len(found) > 5
    assert found == rows(tmp_path / "inline" / "tiny", "probes")
