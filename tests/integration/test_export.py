"""From a finished sweep to a model that plain Transformers loads, with the ledger's numbers."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml

from orchestrator.cli import main
from orchestrator.errors import RunStoppedError, SweepError
from orchestrator.export import export_step
from orchestrator.export.verification import compare_metrics
from orchestrator.ledger import DriverWriter, Ledger, TrialWriter
from orchestrator.points import EvaluatedStep, find_step, prepare_replay, rebuild_model
from orchestrator.preparation import ModelCache, build_workload, train_model
from orchestrator.preparation.model_identity import model_tasks, workload_hash
from orchestrator.run.session import baseline_row
from orchestrator.spec import SweepSpec, amend_spec, dump_spec, load_spec
from orchestrator.storage import LocalStorage
from tests.integration.helpers import TINY
from tests.orchestrator.helpers import PROPOSAL, make_trial
from tests.support import run_to_end
from trainables.config import TrialConfig
from trainables.data import build_datasets
from trainables.trial import Engine

pytestmark = pytest.mark.slow

OUTSIDER = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, texts = sys.argv[1], json.load(sys.stdin)
model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def nll(pairs):
    total = targets = 0
    for prompt, completion in pairs:
        before = [tokenizer.bos_token_id, *tokenizer(prompt)["input_ids"]] if prompt else [tokenizer.bos_token_id]
        after = tokenizer(completion)["input_ids"]
        labels = torch.tensor([[-100] * len(before) + after])
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([before + after]), labels=labels).loss
        total, targets = total + loss.double().item() * len(after), targets + len(after)
    return total / targets


print(json.dumps({name: nll(pairs) for name, pairs in texts.items()}))
"""
"""Knows nothing of this project: the loss is that of Transformers, of one example at a time."""


def ledger_of(sweep: Path) -> Ledger:
    return Ledger(storage=LocalStorage(sweep), sweep=sweep.name)


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["unlearn-sweep", "export", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.fixture(scope="module")
def copied(tiny_sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny sweep with its models, to be changed."""
    storage = tmp_path_factory.mktemp("copied")
    for name in (".models", "tiny"):
        shutil.copytree(tiny_sweep.parent / name, storage / name)
    return storage / "tiny"


@contextlib.contextmanager
def changed(path: Path) -> Iterator[Path]:
    """Give a file to change, and put it back."""
    before = path.read_bytes()
    try:
        yield path
    finally:
        path.write_bytes(before)


def last_step(sweep: Path, forget_set: str = "verses") -> EvaluatedStep:
    ledger = ledger_of(sweep)
    row = next(row for row in ledger.trials() if row["forget_set"] == forget_set)
    return find_step(ledger, row["trial_id"], row["last_step"])


@pytest.fixture(scope="module")
def exported(copied: Path) -> Path:
    """The last evaluated step of a trial, which has a checkpoint there."""
    folder = copied.parent / "exported"
    export = export_step(ledger_of(copied), last_step(copied), folder)
    assert export.provenance["from_step"] == 30
    assert export.verification.largest == 0
    return folder


def test_an_exported_model_has_the_ledgers_numbers_in_a_process_that_knows_nothing_of_us(
    tiny_sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    bounds = ["--best", "exposure<=100, step>=12", "--forget-set", "personal_data"]
    assert command(monkeypatch, tiny_sweep, *bounds, "--to", tmp_path / "model", "--json") == 0
    said = json.loads(capfd.readouterr().out)
    (row,) = duckdb.sql(
        f"from read_parquet('{tiny_sweep}/evaluations/*.parquet') where forget_set = 'personal_data' "
        f"and unlearning_quality <= 100 and step >= 12 order by performance, unlearning_quality, trial_id, step limit 1"
    ).df().to_dict("records")  # fmt: skip
    assert (said["trial_id"], said["step"]) == (row["trial_id"], row["step"])
    assert said["verification"]["largest_difference"] == 0
    forget = duckdb.sql(
        f"select prompt, completion from '{tiny_sweep}/references/forget_sets.parquet' "
        f"where forget_set = 'personal_data'"
    ).fetchall()
    heldout = [(example.prompt, example.completion) for example in build_datasets(load_spec(TINY).data).heldout]
    done = subprocess.run(
        [sys.executable, "-I", "-c", OUTSIDER, str(tmp_path / "model")],
        input=json.dumps({"forget_nll": forget, "heldout_nll": heldout}),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for name, value in json.loads(done.stdout).items():
        assert value == pytest.approx(row[name], rel=1e-6)


def test_a_rebuilt_model_is_measured_as_the_sweep_measured_it(copied: Path) -> None:
    evaluated = last_step(copied)
    with rebuild_model(prepare_replay(ledger_of(copied), evaluated)) as rebuilt:
        measured = rebuilt.evaluator.evaluate(rebuilt.model)
    assert rebuilt.from_step == evaluated.step
    assert compare_metrics(evaluated.metrics, measured, tolerance=0.0).largest == 0


def test_from_a_checkpoint_and_from_the_base_model_comes_the_same_model_bit_for_bit(
    copied: Path, exported: Path, tmp_path: Path
) -> None:
    evaluated = last_step(copied)
    with changed(copied / "checkpoints" / f"{evaluated.trial_id}.safetensors") as checkpoint:
        checkpoint.unlink()
        replayed = export_step(ledger_of(copied), evaluated, tmp_path / "replayed")
        checkpoint.write_bytes(b"damaged")
        anew = export_step(ledger_of(copied), evaluated, tmp_path / "anew")
    assert replayed.provenance["from_step"] == anew.provenance["from_step"] == 0
    weights = (exported / "model.safetensors").read_bytes()
    assert (tmp_path / "replayed" / "model.safetensors").read_bytes() == weights
    assert (tmp_path / "anew" / "model.safetensors").read_bytes() == weights


def test_a_checkpoint_beyond_the_step_is_no_use_and_step_0_is_the_base_model(copied: Path, tmp_path: Path) -> None:
    ledger, trial_id = ledger_of(copied), last_step(copied).trial_id
    middle = export_step(ledger, find_step(ledger, trial_id, 8), tmp_path / "middle")
    base = export_step(ledger, find_step(ledger, trial_id, 0), tmp_path / "base")
    for export in (middle, base):
        assert export.provenance["from_step"] == 0
        assert export.verification.largest == 0
    key = ledger.manifest.read()["models"]["base"]["key"]
    cached = (copied.parent / ".models" / key / "model.safetensors").read_bytes()
    assert (tmp_path / "base" / "model.safetensors").read_bytes() == cached


def test_the_card_tells_what_it_is_and_none_of_the_texts(copied: Path, exported: Path) -> None:
    card = (exported / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "transformers"
    evaluated = last_step(copied)
    assert f"unlearn-sweep export tiny --trial {evaluated.trial_id} --step 30 --to FOLDER" in body
    assert "no proof of deletion" in body
    known = [name for name, value in evaluated.metrics.items() if isinstance(value, float) and name != "elapsed_s"]
    assert {"gen_ex", "gen_ex_p95", "mia_loss_auc", "heldout_nll"} <= set(known)
    assert f"all {len(known) + 1} metrics equal the ledger's, bit for bit" in body, "and the tokens that were seen"
    config = TrialConfig.model_validate_json(evaluated.trial["config"])
    assert f"| learning_rate | {config.learning_rate} |" in body
    base, ours, references = (f"{value:.6g}" for value in _heldout(copied, evaluated))
    assert f"| heldout_nll | nats/token | {base} | **{ours}** | {references} |" in body
    facts = json.loads((exported / "provenance.json").read_text())
    baselines = {row["model"]: row for row in ledger_of(copied).baselines().of("verses")}
    before, after = baselines["base"]["population_nll"], evaluated.metrics["population_nll"]
    assert facts["prices"]["population_nll"] == {"base": before, "model": after, "lost": after - before}
    assert (
        f"| the forget set's own kind, never trained | {before:.6g} | **{after:.6g}** | {after - before:.6g} |" in body
    )
    assert "own kind, retained" not in body, "verses have no distractors"
    floor = sum(baselines[f"reference-{index}"]["gen_ex_abs"] for index in (0, 1)) / 2
    assert f"mean |GenEx| {floor:.6g} " in body
    assert facts["chosen_by"] is None
    assert "chosen on the same evaluations" not in card
    assert len({path.stat().st_mode for path in exported.iterdir()}) == 1, "all follow the umask"
    assert facts["files"].keys() == {path.name for path in exported.iterdir()} - {"README.md", "provenance.json"}
    assert facts["hashes"]["data_hash"] == ledger_of(copied).manifest.read()["data_hash"]
    texts = [
        text for (text,) in duckdb.sql(f"select completion from '{copied}/references/forget_sets.parquet'").fetchall()
    ]
    written = card + (exported / "provenance.json").read_text()
    assert not [text for text in texts if text in written]
    assert str(copied.parent) not in written


def _heldout(sweep: Path, evaluated: EvaluatedStep) -> tuple[Any, ...]:
    rows = {row["model"]: row for row in ledger_of(sweep).baselines().of("verses")}
    return rows["base"]["heldout_nll"], evaluated.metrics["heldout_nll"], rows["reference-0"]["heldout_nll"]


def test_a_model_that_is_not_the_one_of_the_ledger_is_refused_and_nothing_is_left(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    trial_id = last_step(copied).trial_id
    with changed(copied / "evaluations" / f"{trial_id}.parquet") as file:
        table = pq.read_table(file)
        rows = table.to_pylist()
        rows[-1]["retain_nll"] *= 1.01
        pq.write_table(table.from_pylist(rows, schema=table.schema), file)
        where = [copied, "--trial", trial_id, "--step", 30, "--to", tmp_path / "model"]
        assert command(monkeypatch, *where) == 1
        said = capfd.readouterr().err
        assert "the rebuilt model is not the one of the ledger" in said
        assert f"retain_nll: ledger {rows[-1]['retain_nll']}" in said
        assert "forget_nll" not in said
        assert list(tmp_path.iterdir()) == []
        assert command(monkeypatch, *where, "--tolerance", 0.02) == 0
    assert (
        "within 0.02 of the ledger's; largest difference: retain_nll, 0.0099"
        in (tmp_path / "model/README.md").read_text()
    )


def test_a_trial_of_other_data_is_refused_with_what_differs(copied: Path, tmp_path: Path) -> None:
    evaluated = last_step(copied)
    with changed(copied / "spec.yaml") as file:
        file.write_text(dump_spec(amend_spec(load_spec(TINY), ["data.seed=1"])))
        with pytest.raises(SweepError, match="made with other settings, data, models or code:\n  data_hash: was"):
            export_step(ledger_of(copied), evaluated, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_gone_from_the_storage_is_trained_anew(copied: Path, tmp_path: Path) -> None:
    key = ledger_of(copied).manifest.read()["models"]["base"]["key"]
    shutil.rmtree(copied.parent / ".models" / key)
    told: list[str] = []
    export = export_step(ledger_of(copied), last_step(copied), tmp_path / "model", report=told.append)
    assert told[0] == "training model 'base' anew: it is gone from the storage"
    assert export.verification.largest == 0


@pytest.mark.parametrize("objective", ["gradient_ascent", "task_vector"])
def test_adapters_are_merged_into_a_model_that_plain_transformers_loads(objective: str, tmp_path: Path) -> None:
    changes = ["preparation.references=1", "steps=[2, 4]", "model.lora={rank: 2, alpha: 64}"]
    ledger, trial_id = run_one_trial(amend_spec(load_spec(TINY), changes), tmp_path / "storage", objective=objective)
    export = export_step(ledger, find_step(ledger, trial_id, 4), tmp_path / "model")
    assert export.verification.largest < 1e-4  # merging rounds
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert "model.safetensors" in names
    assert not [name for name in names if name.startswith("adapter")]
    card = (tmp_path / "model" / "README.md").read_text()
    assert "LoRA merged into the weights" in card
    assert "That of GenEx is not known" in card  # of one reference model


def test_adapters_that_bf16_weights_round_are_named_as_the_cause(tmp_path: Path) -> None:
    changes = ["preparation.references=0", "steps=[2]", "model.dtype=bf16", "model.lora={rank: 2, alpha: 64}"]
    ledger, trial_id = run_one_trial(amend_spec(load_spec(TINY), changes), tmp_path / "storage")
    with pytest.raises(RunStoppedError, match="merging adapters into bf16 weights rounds what they have learned"):
        export_step(ledger, find_step(ledger, trial_id, 2), tmp_path / "model", tolerance=0)


def run_one_trial(spec: SweepSpec, storage: Path, **config: Any) -> tuple[Ledger, str]:
    """Run a trial of the first forget set as a sweep would, in this process."""
    datasets = build_datasets(spec.data)
    tasks = model_tasks(spec, datasets)
    cache = ModelCache(LocalStorage(storage))
    ledger = Ledger(storage=LocalStorage(storage / spec.name), sweep=spec.name)
    ledger.manifest.create(dump_spec(spec), {}, {})
    for task in tasks:
        train_model(spec, datasets, task, cache, ledger)
    workload, measured = build_workload(spec, datasets, tasks, cache, ledger)
    DriverWriter(ledger).publish_baselines([baseline_row(baseline) for baseline in measured.baselines])
    trial = make_trial(
        forget_set=next(iter(spec.data.forget_sets)),
        steps=spec.steps,
        workload_hash=workload_hash(spec, datasets, tasks),
        learning_rate=1e-2,
        **config,
    )
    DriverWriter(ledger).propose(trial, number=0, distribution="in", proposal=PROPOSAL)
    run_to_end(Engine(workload), trial, TrialWriter(ledger))
    return ledger, trial.trial_id
