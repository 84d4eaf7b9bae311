"""A user's own pairs and an encoder-decoder, from the spec to the model: swept, compared with copying, exported."""

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
import yaml

from tests.integration.helpers import INLINE, call, rows
from trainables.config import CorpusConfig
from trainables.data.corpora import load_corpus

ALONE = """
import sys, torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
folder, *pairs = sys.argv[1:]
model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
total = count = 0
for source, target in zip(pairs[::2], pairs[1::2]):
    labels = tokenizer(text_target=target, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        loss = model(**tokenizer(source, return_tensors="pt"), labels=labels).loss
    total, count = total + float(loss) * labels.numel(), count + labels.numel()
print(total / count)
"""
"""Transformers alone: the loss of pairs, by its own masking and reduction."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Verses and what they are in modern English, one JSON object a line."""
    folder = tmp_path_factory.mktemp("files")
    examples = load_corpus(CorpusConfig(min_words=6, max_words=7), encoder_decoder=True)
    cuts = {"forget": (0, 6), "comparable": (6, 18), "heldout": (18, 30), "retain": (30, 90)}
    for name, (start, stop) in cuts.items():
        pairs = [{"old": e.prompt, "new": e.completion} for e in examples[start:stop]]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return folder


def spec_of(files: Path) -> dict[str, object]:
    def source(name: str) -> dict[str, object]:
        return {"path": str(files / f"{name}.jsonl"), "columns": {"source": "old", "target": "new"}}

    return {
        "name": "rewriting",
        "model": {
            "architecture": {
                "model_type": "t5", "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_decoder_layers": 1,
                "num_heads": 2, "dropout_rate": 0.0,
            },
            "vocab_size": 300,
        },
        "data": {
            "retain_source": source("retain"), "retain_evaluation": 8, "heldout_source": source("heldout"),
            "max_tokens": 200,
            "forget_sets": {
                "verses": {
                    "distribution": "in", "source": source("forget"), "population_source": source("comparable"),
                    "repetitions": [1, 4],
                }
            },
        },
        "preparation": {"epochs": 1, "batch_size": 16, "learning_rate": 3.0e-3, "references": 1},
        "steps": [1, 2],
        "search": {
            "sampler": "grid",
            "space": {
                "batch_size": 4, "learning_rate": 0.05, "optimizer": "sgd",
                "objective": ["dpo", "task_vector"],
            },
        },
        "evaluation": {"generated": 4},
    }  # fmt: skip


@pytest.mark.slow
def test_own_files_and_an_encoder_decoder_go_all_the_way(files: Path, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec_of(files)))
    done = call("run", str(tmp_path / "spec.yaml"), "--storage", str(tmp_path), *INLINE)
    assert done.returncode == 0, done.stderr
    sweep = tmp_path / "rewriting"
    evaluations = rows(sweep, "evaluations")
    assert {(row["objective"], row["step"]) for row in evaluations} == {
        (objective, step) for objective in ("dpo", "task_vector") for step in (0, 1, 2)
    }
    assert all(0 <= row["bleu"] <= 100 and 0 <= row["chrf"] <= 100 for row in evaluations)
    assert " ".join(done.stdout.split()).count("copying the sources: BLEU") == 1
    baselines = duckdb.sql(f"select model, bleu from '{sweep}/references/baselines.parquet'").fetchall()
    assert {model for model, _ in baselines} == {"base", "reference-0", "copy"}
    texts = duckdb.sql(f"from '{sweep}/references/forget_sets.parquet'").to_arrow_table().to_pylist()
    assert sorted(row["repetitions"] for row in texts) == [1, 1, 1, 4, 4, 4]
    assert {row["example_id"].partition(":")[0] for row in texts} == {"forget.jsonl"}

    last = max((row for row in evaluations if row["objective"] == "task_vector"), key=lambda row: row["step"])
    folder = tmp_path / "model"
    written = call(
        "export", str(sweep), "--trial", last["trial_id"][:8], "--step", "2", "--to", str(folder), "--tolerance", "0"
    )
    assert written.returncode == 0, written.stderr
    pairs = [text for row in texts for text in (row["prompt"], row["completion"])]
    alone = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(folder), *pairs], capture_output=True, text=True, check=True
    )
    assert float(alone.stdout) == pytest.approx(last["forget_nll"], rel=1e-6)
