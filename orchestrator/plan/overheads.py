"""What a run takes besides steps and evaluations: imports, Ray and its workers, ledger files, the report.

Most of it is starting processes and importing libraries, so it is expressed in one unit: how long this machine takes to
import these libraries in a new process. The factors were measured with the sweep of the integration tests on two idle
cores; ``python -m tests.benchmarks.plan`` measures them again.
"""

import subprocess
import sys
import time
from dataclasses import dataclass

_UNIT = "import torch, transformers, accelerate, ray, optuna"

START_UNITS = 3.5
"""Until the first model trains."""
PREPARATION_UNITS = 0.25
"""Training and measuring models, besides their steps."""
TRIALS_START_UNITS = 0.5
"""From the workload to the first step of the first trial."""
TRIAL_UNITS = 0.15
"""Each trial, besides its steps."""
EVALUATION_UNITS = 0.03
"""Each evaluation, besides its passes: statistics, and two files of the ledger."""
REPORT_UNITS = 1.4
"""The report."""


@dataclass(frozen=True, kw_only=True)
class Overheads:
    """Seconds that a run takes besides steps and evaluations: see the constants of this module."""

    start_s: float = 0.0
    preparation_s: float = 0.0
    trials_start_s: float = 0.0
    trial_s: float = 0.0
    evaluation_s: float = 0.0
    report_s: float = 0.0


NO_OVERHEADS = Overheads()


def measure_overheads() -> Overheads:
    """Measure the unit on this machine, and return the overheads that follow from it."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", _UNIT], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return overheads_of(time.perf_counter() - started)


def overheads_of(unit_s: float) -> Overheads:
    """Return the overheads of a run, given the seconds of the unit."""
    return Overheads(
        start_s=START_UNITS * unit_s,
        preparation_s=PREPARATION_UNITS * unit_s,
        trials_start_s=TRIALS_START_UNITS * unit_s,
        trial_s=TRIAL_UNITS * unit_s,
        evaluation_s=EVALUATION_UNITS * unit_s,
        report_s=REPORT_UNITS * unit_s,
    )
