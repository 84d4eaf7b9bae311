"""Run the command as a user would, and read a ledger as an outsider would.

A process of its own takes seconds to import what it needs: it is for what a process alone shows, as signals, standard
streams and Ray. Everything else calls the command in the process of the test.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
import psutil
import yaml

from orchestrator.cli import main
from tests.limits import HANG_S
from trainables.records import TIMES

TINY = Path(__file__).with_name("tiny.yaml")
COMMAND = [sys.executable, "-c", "from orchestrator.cli.app import main; main()"]

INLINE = ("--executor", "inline")
"""Options of a run that does without Ray: of all tests but those of what Ray alone does."""
NO_RAY = "orchestrator.run.executors.ray_executor.ray_session"
"""What ``call`` takes away."""

TELLING_MODULES = """
import atexit, json, sys
file = sys.argv.pop(1)
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=open(file, "w")))
from orchestrator.cli.app import main
main()
"""
"""The command as a program that writes what it has imported at its end to a file, its first argument."""
MODULES = "modules.json"
"""That file of the tiny sweep, in its storage."""

NOT_DETERMINISTIC = {"sweep", "elapsed_s", *TIMES, "started_at", "ended_at", "host"}
"""Columns that may differ between two runs of one spec: clocks and machines, and the name it was given."""

OF_OBJECTIVE = {"trial_id", "objective", "settings", "setting_id", "config"}
"""Columns that differ with an objective's name."""


def write_own_spec(folder: Path) -> Path:
    """Write the tiny spec with one trial of each forget set, by the objective of the plugin that the documents show."""
    data = yaml.safe_load(TINY.read_text())
    space = {"objective": {"choices": {"scaled_ascent": {"factor": 1.0}}}, "learning_rate": 0.05, "batch_size": 4}
    data |= {"steps": [1, 2, 3], "search": {"sampler": "random", "trials": 1, "space": space}}
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in this process; it fails where it would start Ray."""
    code: Any = 0
    printed = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    out, err = printed
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["unlearn-sweep", *arguments]),
        mock.patch(NO_RAY, side_effect=AssertionError("a test that starts Ray does so in a process of its own")),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    said = [stream.buffer.getvalue().decode() for stream in printed]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(["unlearn-sweep", *arguments], code, *said)


def start_inline(*arguments: str, command: Sequence[str] = COMMAND) -> subprocess.Popen[str]:
    """Start a run, or a resume, in a process of its own, without Ray."""
    return start(*arguments, *INLINE, command=command)


def start(*arguments: str, cluster: bool = False, command: Sequence[str] = COMMAND) -> subprocess.Popen[str]:
    """Start the command: on this machine, or on the ``cluster`` that RAY_ADDRESS names."""
    environment = {name: value for name, value in os.environ.items() if cluster or name != "RAY_ADDRESS"}
    return subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def unlearn_sweep(*arguments: str, command: Sequence[str] = COMMAND) -> subprocess.CompletedProcess[str]:
    process = start(*arguments, command=command)
    out, err = process.communicate(timeout=HANG_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def apart(*arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, where it would find no Ray."""
    environment = os.environ | {"RAY_ADDRESS": "nowhere.invalid:1"} | variables
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, env=environment, cwd=cwd, timeout=HANG_S
    )


def rows(sweep: Path, table: str) -> list[dict[str, Any]]:
    """Read a table with nothing of ours, deterministic columns only, in a fixed order."""
    result = duckdb.sql(f"select * from read_parquet('{sweep}/{table}/*.parquet') order by all").to_arrow_table()
    return [{k: v for k, v in row.items() if k not in NOT_DETERMINISTIC} for row in result.to_pylist()]


def own_numbers(sweep: Path, table: str) -> list[dict[str, Any]]:
    """Read a table without what differs with an objective's name, in an order that does not depend on it."""
    found = [{name: value for name, value in row.items() if name not in OF_OBJECTIVE} for row in rows(sweep, table)]
    return sorted(found, key=lambda row: json.dumps(row, default=str, sort_keys=True))


def actors(driver: int, *names: str) -> list[psutil.Process]:
    """Find the processes under a driver that run actors of these classes; Ray puts the class into the title."""
    found = []
    for process in psutil.Process(driver).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            if any(name in part for part in process.cmdline()[:1] for name in names):
                found.append(process)
    return found


def wait_until(condition: Callable[[], Any], process: subprocess.Popen[str], limit_s: float = HANG_S) -> Any:
    """Wait for an event of a running command; fail with its output if it ends before."""
    deadline = time.monotonic() + limit_s
    while not (result := condition()):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"the event never came: {process.communicate()}")
        time.sleep(0.02)  # a poll of the file system, not a guess at a duration
    return result
