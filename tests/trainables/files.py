"""Files in every format that users may have, and a Hugging Face cache for each test."""

import csv
import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import Dataset, DatasetDict

Rows = list[dict[str, Any]]
FORMATS = {"jsonl": "data.jsonl", "csv": "data.csv", "parquet": "data.parquet", "hf": "folder"}
"""Formats with columns, each with the name of the file that is written."""


def write_rows(path: Path, rows: Rows) -> Path:
    """Write rows in the format of the suffix; without suffix, as a folder by ``save_to_disk``."""
    columns = list(rows[0])
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        case ".csv":
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(rows)
        case ".parquet":
            Dataset.from_list(rows).to_parquet(path)
        case _:
            Dataset.from_list(rows).save_to_disk(path)
    return path


def write_splits(path: Path, splits: dict[str, Rows]) -> Path:
    DatasetDict({name: Dataset.from_list(rows) for name, rows in splits.items()}).save_to_disk(path)
    return path


def pairs(count: int, label: str = "x") -> Rows:
    """Return rows of distinct texts."""
    return [{"prompt": f"{label} {i} says", "completion": f" the {label} word {i}"} for i in range(count)]


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("huggingface")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    datasets.disable_progress_bars()
    return folder
