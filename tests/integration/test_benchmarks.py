"""Specs of the field's benchmarks, on local files and tiny models of the same form: planned and run."""

import json
import re
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

import search_spaces
from orchestrator.spec import load_spec
from tests.integration.helpers import INLINE, call, rows
from tests.support import tiny_architecture, tiny_texts
from trainables.config import ModelConfig
from trainables.data import build_datasets
from trainables.encoding import train_tokenizer
from trainables.models import new_model, save_model

SPECS = Path(search_spaces.__file__).parent
ROWS = {"retain": 24, "heldout": 8, "population": 8, "forget": 8}
SMALL = {
    "steps": [1, 2],
    "search": {"sampler": "random", "trials": 1, "space": {
        "batch_size": 4, "objective": "gradient_difference", "optimizer": "sgd",
        "learning_rate": {"low": 0.01, "high": 0.02},
    }},
}  # fmt: skip
"""A search for specs that say nothing of it, or too much."""

numbers = count()


def question(wrong: int, *, paraphrased: bool = False) -> dict[str, Any]:
    number = next(numbers)
    found = {"question": f"Who wrote book {number}?", "answer": f"Author {number}.", "id": number}
    if wrong:
        found["perturbed_answer"] = [f"Nobody {number}-{k}." for k in range(wrong)]
    if paraphrased:
        found |= {"paraphrased_answer": f"It was author {number}.", "paraphrased_question": f"Whose is book {number}?"}
    return found


def text() -> dict[str, Any]:
    number = next(numbers)
    return {"text": f"{number} is a number, and a text of its own: {tiny_texts(1, seed=number)[0]}"}


def passage() -> dict[str, Any]:
    number = next(numbers)
    return {"prompt": f"Once {number} kings", "gt": f" went forth to {number} mountains"}


def with_choices() -> dict[str, Any]:
    number = next(numbers)
    return {"question": f"What is {number}?", "choices": [f"{word} {number}" for word in "ABCD"], "answer": number % 4}


FORMS = {
    "retain90": (24, lambda: question(0)), "holdout10": (20, lambda: question(0)),
    "forget10_perturbed": (8, lambda: question(5, paraphrased=True)),
    "retain_perturbed": (6, lambda: question(5, paraphrased=True)),
    "real_authors_perturbed": (5, lambda: question(3)), "world_facts_perturbed": (5, lambda: question(3)),
    "raw/retain1": (24, text), "raw/holdout": (20, text), "raw/forget": (8, text),
    "verbmem/forget": (4, passage), "knowmem/forget_qa": (4, lambda: question(0)),
    "knowmem/retain_qa": (4, lambda: question(0)),
    "cyber-retain-corpus": (40, text), "cyber-forget-corpus": (8, text), "wmdp-cyber": (6, with_choices),
}  # fmt: skip
"""The rows of each data set, by the name of its configuration, and its split where there are several."""


def write_data(folder: Path) -> None:
    for name, (size, row) in FORMS.items():
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row()) + "\n" for _ in range(size)))


def local(found: Any, folder: Path) -> Any:
    """Return a part of a spec with a local file in place of each data set of the hub."""
    if isinstance(found, list):
        return [local(inner, folder) for inner in found]
    if not isinstance(found, dict):
        return found
    if "dataset" not in found:
        return {name: local(inner, folder) for name, inner in found.items()}
    name, split = found["name"], found["split"]
    kept = {key: value for key, value in found.items() if key not in ("dataset", "name", "split")}
    return {**kept, "path": str(folder / f"{name if name in FORMS else f'{name}/{split}'}.jsonl")}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data of every form, and the models ``base`` and ``reference``."""
    folder = tmp_path_factory.mktemp("benchmarks")
    write_data(folder)
    tokenizer = train_tokenizer(tiny_texts(50), 300)
    config = ModelConfig(architecture={**tiny_architecture(), "max_position_embeddings": 512}, vocab_size=300)
    for seed, name in enumerate(("base", "reference")):
        save_model(new_model(config, tokenizer=tokenizer, seed=seed), tokenizer, folder / name)
    return folder


def shipped() -> dict[str, Any]:
    """Return the spec of TOFU, with the sizes of small files and without what needs a GPU."""
    spec: dict[str, Any] = yaml.safe_load((SPECS / "tofu.yaml").read_text())
    data = spec["data"]
    data |= {"retain": 24, "retain_evaluation": 6, "heldout": 10}
    data["forget_sets"]["forget10"] |= {"size": 8, "population": 10}
    for own in data["evaluation_sets"].values():
        own["size"] = 5
    del spec["resources"], spec["stop"], spec["model"]["precision"]
    return spec


def described(benchmark: str) -> dict[str, Any]:
    """Return the spec of a benchmark that the README shows."""
    blocks = re.findall(r"```yaml\n(.*?)```", (SPECS / "README.md").read_text(), re.DOTALL)
    (block,) = (block for block in blocks if benchmark in block)
    spec: dict[str, Any] = yaml.safe_load(block)
    spec["data"]["heldout"] = 10
    for own in spec["data"]["forget_sets"].values():
        own["population"] = 10
    return {"name": "described", **spec}


def written(spec: dict[str, Any], place: Path, folder: Path) -> Path:
    """Write a spec with local files and models, and a small search."""
    spec = {**local(spec, place), **SMALL}
    spec["model"]["pretrained"] = str(place / "base")
    if "references" in spec["model"]:
        spec["model"]["references"] = [{"pretrained": str(place / "reference")}]
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


@pytest.mark.slow
def test_tofu_is_planned_and_run_with_models_that_are_trained_already(place: Path, tmp_path: Path) -> None:
    path = written(shipped(), place, tmp_path)
    planned = call("plan", str(path), "--no-estimate", "--json")
    assert planned.returncode == 0, planned.stderr
    assert {one["part"]: one["examples"] for one in json.loads(planned.stdout)["sets"]} == {
        "forget": 8, "population": 10, "retain": 24, "heldout": 10, "retained": 5, "real_authors": 5, "world_facts": 5
    }  # fmt: skip

    done = call("run", str(path), "--storage", str(tmp_path), *INLINE)
    assert done.returncode == 0, done.stderr
    evaluations = rows(tmp_path / "tofu", "evaluations")
    assert {row["step"] for row in evaluations} == {0, 1, 2}
    assert all(row["gen_ex"] is not None for row in evaluations)
    nll = dict(duckdb.sql(f"select model, heldout_nll from '{tmp_path}/tofu/references/baselines.parquet'").fetchall())
    expected = {
        role: heldout_nll(path, place / name) for role, name in (("base", "base"), ("reference-0", "reference"))
    }
    assert nll == pytest.approx(expected, rel=1e-5)
    assert abs(nll["base"] - nll["reference-0"]) > 1e-3, "two models"
    again = call("resume", str(tmp_path / "tofu"), *INLINE)
    assert again.returncode == 0, again.stderr
    assert rows(tmp_path / "tofu", "evaluations") == evaluations


def heldout_nll(spec: Path, folder: Path) -> float:
    """Return the NLL of a spec's held-out set under a model, in nats per token, by Transformers alone."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    total = tokens = 0.0
    for example in build_datasets(load_spec(str(spec)).data).heldout:
        before, after = (tokenizer(text)["input_ids"] for text in (example.prompt, example.completion))
        ids = torch.tensor([[tokenizer.bos_token_id, *before, *after]])
        labels = ids.clone()
        labels[0, : -len(after)] = -100
        with torch.no_grad():
            total += float(model(ids, labels=labels).loss) * len(after)
        tokens += len(after)
    return total / tokens


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", ["muse-bench", "cais/wmdp"])
def test_what_the_readme_says_of_other_benchmarks_runs(place: Path, tmp_path: Path, benchmark: str) -> None:
    path = written(described(benchmark), place, tmp_path)
    done = call("run", str(path), "--storage", str(tmp_path), *INLINE)
    assert done.returncode == 0, done.stderr
    evaluations = rows(tmp_path / "described", "evaluations")
    assert {row["step"] for row in evaluations} == {0, 1, 2}
    assert {row["gen_ex"] is None for row in evaluations} == {benchmark == "cais/wmdp"}
    scored = {"muse-bench": ("rouge_l_f1[verbatim]", "rouge_l_f1[retain_questions]")}
    names = scored.get(benchmark, ("probability_among_options[questions]",))
    assert all(dict(row["other_metrics"])[name] >= 0 for row in evaluations for name in names)
