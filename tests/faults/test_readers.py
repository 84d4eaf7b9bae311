"""Readers that use nothing of ours, all through a sweep: each row once, whole, never fewer than before, never an error.

The writer commits as fast as it can, without waiting for the disk: far more often than any sweep replaces its files.
"""

import itertools
import multiprocessing
import os

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

from orchestrator.ledger import DriverWriter, Ledger, TrialWriter
from orchestrator.storage import LocalStorage
from tests.limits import HANG_S
from tests.orchestrator.helpers import PROPOSAL, evaluation_record, example_record, make_trial, outcome

READS = 40
STEPS, EXAMPLES = 6, 4


def by_duckdb(folder, table, columns):
    return duckdb.sql(f"select {', '.join(columns)} from '{folder}/{table}/*.parquet'").fetchall()


def by_polars(folder, table, columns):
    return pl.scan_parquet(f"{folder}/{table}/*.parquet").select(columns).collect().rows()


def by_pandas(folder, table, columns):
    return list(pd.read_parquet(f"{folder}/{table}", columns=columns).itertuples(index=False, name=None))


def by_dataset(folder, table, columns):
    found = ds.dataset(f"{folder}/{table}", format="parquet").to_table(columns=columns)
    return list(zip(*(column.to_pylist() for column in found.columns), strict=True))


KEYS = {"evaluations": ["trial_id", "step"], "examples": ["trial_id", "step", "example_id"], "trials": ["trial_id"]}


def read_on_and_on(reader, folder, begun, done, results) -> None:
    """Read every table ``READS`` times, and on until each has grown; put what was wrong, and how many rows there were
    at each read."""
    wrong, counts = [], {table: [] for table in KEYS}
    for read in itertools.count():
        if wrong or (read >= READS and all(len(set(found)) > 1 for found in counts.values())):
            break
        for table, columns in KEYS.items():
            try:
                found = reader(folder, table, columns)
            except BaseException as error:  # Polars panics by one
                wrong.append(f"{table}: {error!r}")
                continue
            if len(set(found)) < len(found):
                wrong.append(f"{table}: a row twice")
            counts[table].append(len(found))
        if read == 0:
            begun.release()
    results.put((wrong, counts))
    done.release()


@pytest.mark.slow
@pytest.mark.parametrize("reader", [by_duckdb, by_polars, by_pandas, by_dataset])
def test_a_reader_of_a_running_sweep_never_sees_a_torn_file_or_a_row_twice(reader, tmp_path, monkeypatch):
    context = multiprocessing.get_context("spawn")
    begun, done, results = context.Semaphore(0), context.Semaphore(0), context.Queue()
    monkeypatch.setattr(os, "fsync", lambda _: None)
    ledger = Ledger(storage=LocalStorage(tmp_path), sweep="tiny")
    numbers = itertools.count()
    commit_trials(ledger, numbers)
    process = context.Process(target=read_on_and_on, args=(reader, str(tmp_path), begun, done, results))
    process.start()
    assert begun.acquire(timeout=HANG_S), "the reader has read what there is before the first commit"
    while not done.acquire(block=False):
        if next(numbers) < 64:
            commit_trials(ledger, numbers)
        else:  # enough files: write them again, as a sweep does that is interrupted and goes on
            numbers = itertools.count()
        if process.exitcode:
            break
    wrong, counts = results.get(timeout=HANG_S)
    process.join(HANG_S)
    assert wrong == []
    for table, found in counts.items():
        assert len(found) >= READS
        assert len(set(found)) > 1, f"the reader saw {table} grow"
        if table == "trials":
            assert found == sorted(found)


def commit_trials(ledger: Ledger, numbers) -> None:
    """Commit eight trials side by side, an evaluation at a time."""
    trials = [make_trial(seed=next(numbers)) for _ in range(8)]
    for number, trial in enumerate(trials):
        DriverWriter(ledger).propose(trial, number=number, distribution="in", proposal=PROPOSAL)
    worker = TrialWriter(ledger)
    for count in range(1, STEPS + 1):
        evaluations = [evaluation_record(step) for step in range(count)]
        examples = [example_record(step, f"verses-{i}") for step in range(count) for i in range(EXAMPLES)]
        ended = outcome(last_step=count - 1) if count == STEPS else None
        for trial in trials:
            worker.publish(trial.trial_id, evaluations, examples, ended)
    DriverWriter(ledger).merge()
