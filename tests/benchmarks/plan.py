"""What ``plan`` says a sweep takes, beside what it takes: the factors of ``orchestrator.plan`` are set by this.

    python -m tests.benchmarks.plan [SPEC ...]

Runs the sweep of the integration tests, or the specs given, in a new storage. Prints each part in seconds, as it was
estimated and as it was measured, and the factors that would have been right. Run it on a quiet machine.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Table

from orchestrator.plan import Plan, fits_here, measure_overheads, overheads, plan_sweep, time_steps, typical_lengths
from orchestrator.plan.overheads import NO_OVERHEADS, Overheads, overheads_of
from orchestrator.plan.step_times import StepTimes
from orchestrator.preparation import SweepInputs
from orchestrator.spec import load_spec
from tests.integration.helpers import COMMAND, TINY

_MARKS = {"models 0/": "models", "trials 0/": "trials"}
"""What a run says when its first model trains, and when its trials start."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a run has taken: moments in seconds of the clock, and sums over all trials."""

    began: float
    models: float
    trials: float
    first_step: float
    last_trial: float
    ended: float
    elapsed_s: float
    """Of all trials, by their own clocks."""
    trials_run: int
    steps: int
    evaluations: int

    def parts(self) -> dict[str, float]:
        """Return the parts of the time, by the names of ``Plan``'s estimates."""
        return {
            "start": self.models - self.began,
            "preparation": self.trials - self.models,
            "sweep": self.last_trial - self.trials,
            "report": self.ended - self.last_trial,
            "total": self.ended - self.began,
        }

    def factors(self, bare: Plan, times: StepTimes, at_once: int, unit_s: float) -> dict[str, float]:
        """Return the factors of ``orchestrator.plan.overheads`` that would have been right.

        Args:
            bare: the plan without overheads.
            times: of steps.
            at_once: trials.
            unit_s: what the factors are counted in.
        """
        parts = self.parts()
        computing_s = self.steps * times.ascent_step_s + self.evaluations * times.evaluation_s
        between_s = at_once * (self.last_trial - self.first_step) - self.elapsed_s
        seconds = {
            "START_UNITS": parts["start"],
            "PREPARATION_UNITS": parts["preparation"] - (bare.estimated_preparation_s or 0.0),
            "TRIALS_START_UNITS": self.first_step - self.trials,
            "TRIAL_UNITS": between_s / self.trials_run,
            "EVALUATION_UNITS": (self.elapsed_s - computing_s) / self.evaluations,
            "REPORT_UNITS": parts["report"],
        }
        return {name: value / unit_s for name, value in seconds.items()}


def run_it(spec: str, workers: int) -> Measured:
    """Run the sweep; its progress, its rows and its end tell what has taken how long."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*COMMAND, "run", spec, "--name", "timed", "--storage", folder, "--workers", str(workers)]
        began = time.time()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
        assert process.stdout is not None
        said: dict[str, Any] = {}
        for line in process.stdout:
            for mark, name in _MARKS.items():
                if line.startswith(mark):
                    said.setdefault(name, time.time())
        if process.wait():
            raise SystemExit(f"{spec}: the run ended with {process.returncode}")
        return Measured(began=began, ended=time.time(), **said, **_of_rows(f"{folder}/timed"))


def _of_rows(sweep: str) -> dict[str, Any]:
    """Read when trials ran and what they did, from the ledger's files."""
    names = ("first_step", "last_trial", "elapsed_s", "trials_run", "steps", "evaluations")
    (row,) = duckdb.sql(
        f"""
        with done as (
            select trial_id, max(step) as steps, count(*) as evaluations
            from '{sweep}/evaluations/*.parquet' group by all
        )
        select min(epoch(ended_at) - elapsed_s), max(epoch(ended_at)), sum(elapsed_s), count(*), sum(steps),
            sum(evaluations)
        from '{sweep}/trials/*.parquet' join done using (trial_id)
        """
    ).fetchall()
    return dict(zip(names, row, strict=True))


def main() -> None:
    """Print two tables."""
    console = Console()
    parts = Table("spec", "part", "estimated, s", "measured, s", "measured / estimated")
    factors = Table("spec", "factor", "is", "would have been right")
    for path in sys.argv[1:] or [str(TINY)]:
        inputs = SweepInputs.of(load_spec(path))
        spec, at_once = inputs.spec, fits_here(inputs.spec.resources)
        times = time_steps(spec, typical_lengths(inputs), sizes=inputs.sizes, encoded=inputs.encoded)
        unit_s = measure_overheads().start_s / overheads.START_UNITS

        def plan_with(
            besides: Overheads, inputs: SweepInputs = inputs, times: StepTimes = times, at_once: int = at_once
        ) -> Plan:
            return plan_sweep(inputs.spec, concurrent_trials=at_once, inputs=inputs, times=times, overheads=besides)

        plan, bare = plan_with(overheads_of(unit_s)), plan_with(NO_OVERHEADS)
        measured = run_it(path, at_once)
        for part, seconds in measured.parts().items():
            told = getattr(plan, f"estimated_{part}_s")
            parts.add_row(spec.name, part, f"{told:.1f}", f"{seconds:.1f}", f"{seconds / told:.2f}")
        for name, right in measured.factors(bare, times, at_once, unit_s).items():
            factors.add_row(spec.name, name, f"{getattr(overheads, name):g}", f"{right:.3f}")
        console.print(f"{spec.name}: the unit is {unit_s:.1f} s; {times}")
    console.print(parts)
    console.print(factors)


if __name__ == "__main__":
    main()
