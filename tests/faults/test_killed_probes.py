"""SIGKILL of a run of probes at any moment: it goes on where it was, and no committed measurement is made again."""

import json
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
import yaml

from orchestrator.run import ExecutorName, RunOptions, run_sweep
from orchestrator.spec.loading import validate_spec
from tests.faults.prober import LOG
from tests.integration.helpers import TINY
from tests.limits import HANG_S
from tests.orchestrator.helpers import SilentEvents

NOT_DETERMINISTIC = ("elapsed_s", "host", "ended_at")
KILLS = 8
"""In a row, each in the process that went on after the one before."""
MEASUREMENTS = 3
"""Of a probe on a model: what a kill can cost."""


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    """A sweep of two trials of one forget set, of a model with one reference, and its models."""
    folder = tmp_path_factory.mktemp("swept")
    spec = yaml.safe_load(TINY.read_text()) | {"steps": [1, 3, 8]}
    del spec["data"]["forget_sets"]["personal_data"]
    spec["search"] |= {"sampler": "random", "trials": 2}
    del spec["search"]["startup_trials"]
    run_sweep(
        validate_spec(spec, "test"),
        storage=str(folder / "sweeps"),
        events=SilentEvents(),
        options=RunOptions(executor=ExecutorName.INLINE),
    )
    return folder / "sweeps"


@pytest.fixture
def copied(swept, tmp_path) -> Path:
    shutil.copytree(swept, tmp_path / "sweeps")
    return tmp_path / "sweeps" / "tiny"


class Prober:
    """The warm process, from outside."""

    def __init__(self, sweep: Path) -> None:
        command = [sys.executable, "-m", "tests.faults.prober", str(sweep)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, die_at: int | None = None) -> bool:
        """Run probes; False: the run died as it was told."""
        self._process.stdin.write(f"{json.dumps(die_at)}\n")
        self._process.stdin.flush()
        code = json.loads(self._process.stdout.readline())
        assert code in (0, -signal.SIGKILL), f"the run ended with {code}"
        return code == 0

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=HANG_S)


@pytest.fixture
def prober(copied):
    process = Prober(copied)
    yield process
    process.stop()


def found(sweep: Path) -> list[tuple]:
    """Read what was found with nothing of ours, deterministic columns only."""
    columns = f"* exclude ({', '.join(NOT_DETERMINISTIC)})"
    return duckdb.sql(f"select {columns} from read_parquet('{sweep}/probes/*.parquet') order by all").fetchall()


def events(sweep: Path) -> list[list[str]]:
    return [line.split() for line in (sweep.parent / LOG).read_text().splitlines()]


def test_a_run_of_probes_that_is_killed_again_and_again_ends_as_an_unbroken_one(copied, prober, swept, tmp_path):
    assert prober.run()
    whole, log = found(copied), events(copied)
    measured = [event for event in log if event[0] == "measure"]
    files = {event[1] for event in log if event[0] == "after-publish" and event[1].startswith("probes/")}
    assert len(measured) == MEASUREMENTS * len(files)
    assert len(whole) == len(measured)

    shutil.rmtree(copied)
    shutil.copytree(swept / "tiny", copied)
    (copied.parent / LOG).unlink()
    draw, kills = random.Random("probes"), 0
    while kills < KILLS and not prober.run(draw.randint(1, len(log) // 4)):
        kills += 1
        assert {len(rows) for rows in by_file(copied).values()} <= {MEASUREMENTS}, "a file is there whole or not at all"
    assert kills > 2, "it was hardly ever killed"
    assert prober.run()
    assert found(copied) == whole
    made = [event for event in events(copied) if event[0] == "measure"]
    assert len(made) - len(measured) <= kills * MEASUREMENTS, "only what was not committed yet"
    published = [e[1] for e in events(copied) if e[0] == "after-publish" and e[1].startswith("probes/")]
    assert len(set(published)) == len(published), "what is committed is not measured again"
    assert list(copied.rglob("quarantine/*")) == []


def by_file(sweep: Path) -> dict[str, list]:
    files = list(sweep.glob("probes/*.parquet"))
    return {path.name: duckdb.sql(f"select * from read_parquet('{path}')").fetchall() for path in files}
