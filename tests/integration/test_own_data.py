"""A user's own files by Ray: relative paths, and a mistake that a worker finds."""

from pathlib import Path

import duckdb
import pytest
import yaml

from tests.integration.helpers import INLINE, TINY, call, rows, unlearn_sweep
from trainables.config import CorpusConfig
from trainables.data.corpora import load_corpus

pytestmark = pytest.mark.slow


def test_relative_paths_hold_in_trials_and_in_a_resume_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data example of the README: a retain set that trials read where it lies, named from the current folder."""
    here, elsewhere = tmp_path / "my data", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    examples = [example.completion for example in load_corpus(CorpusConfig(min_words=6, max_words=7))]
    cuts = {"forget": (0, 6), "comparable": (6, 18), "heldout": (18, 30), "retain": (30, 90)}
    for name, (start, stop) in cuts.items():
        table = duckdb.sql("select unnest($1) as text", params=[examples[start:stop]])
        table.write_parquet(str(here / f"{name}.parquet"))
    spec = yaml.safe_load(TINY.read_text())
    spec |= {"name": "own", "steps": [1, 2], "seeds": [0]}
    spec["data"] = {
        "retain_source": {"path": "retain.parquet"}, "heldout_source": {"path": "./heldout.parquet"},
        "forget_sets": {
            "own": {
                "distribution": "in", "source": {"path": "forget.parquet"},
                "population_source": {"path": "../my data/comparable.parquet"},
            },
        },
    }  # fmt: skip
    spec["preparation"] |= {"epochs": 1, "references": 0}
    spec["search"] = {
        "sampler": "random", "trials": 1,
        "space": {"batch_size": 4, "objective": "gradient_difference", "learning_rate": {"low": 1e-4, "high": 1e-3}},
    }  # fmt: skip
    (here / "spec.yaml").write_text(yaml.safe_dump(spec))
    monkeypatch.chdir(here)
    done = unlearn_sweep("run", "spec.yaml")
    assert done.returncode == 0, done.stderr
    sweep = here / "sweeps" / "own"
    stored = yaml.safe_load((sweep / "spec.yaml").read_text())["data"]
    assert stored["retain_source"]["path"] == str(here / "retain.parquet")
    assert {row["step"] for row in rows(sweep, "evaluations")} >= {1, 2}
    monkeypatch.chdir(elsewhere)
    more = call("resume", str(sweep), "--trials", "2", *INLINE)
    assert more.returncode == 0, more.stderr
    assert [row["status"] for row in rows(sweep, "trials")] == ["completed", "completed"]


def test_a_mistake_in_a_file_is_named_with_its_line(tmp_path: Path) -> None:
    forget = tmp_path / "forget.jsonl"
    forget.write_text(
        '{"prompt": "", "completion": "In the beginning"}\n{"prompt": "And he said,", "completion": ""}\n'
    )
    spec = yaml.safe_load(TINY.read_text())
    verses = {"distribution": "in", "source": {"path": str(forget)}, "population_source": {"path": str(forget)}}
    spec["data"]["forget_sets"] = {"verses": verses}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    done = unlearn_sweep("run", str(tmp_path / "spec.yaml"), "--storage", str(tmp_path))
    assert done.returncode == 2, done.stderr
    assert "forget.jsonl:2: the target is empty" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*/spec.yaml")), "a worker has read it, and what was written before is taken back"
