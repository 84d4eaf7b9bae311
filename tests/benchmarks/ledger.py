"""What a big ledger costs: commits of one evaluation at a time, repairing, merging, and readers before and after it.

make bench, or: python -m tests.benchmarks.ledger --trials 10000 --steps 10 --examples 64
"""

import argparse
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console

from orchestrator.ledger import DriverWriter, Ledger, TrialWriter
from orchestrator.storage import LocalStorage
from trainables.config import TrialConfig
from trainables.records import EvaluationRecord, ExampleRecord, Outcome, Status, Trial

SPEC = """
name: bench
model: {architecture: {model_type: llama}}
data:
  retain: 100
  heldout: 10
  forget_sets:
    a: {distribution: in, size: 64, population: 64}
    b: {distribution: out, canary: personal_data, size: 64, population: 64}
preparation: {epochs: 1, learning_rate: 1.0e-3}
steps: STEPS
seeds: [0, 1]
search: {sampler: random, trials: 1, space: {batch_size: 4, learning_rate: {low: 1.0e-6, high: 1.0e-3, log: true}}}
"""
READERS = {
    "what a report reads": "from orchestrator.report.data import read_report_data; read_report_data(ledger)",
    "frontier": "from orchestrator.frontier.computing import frontiers; frontiers(ledger)",
    "report": (
        "from orchestrator.report.page import write_report_to; "
        "write_report_to(ledger, LocalStorage(Path(sys.argv[1], 'out')), page='index.html', figures='figures')"
    ),
    "group-by of evaluations": (
        "from orchestrator.query.sql import query; "
        "query([ledger], 'select forget_set, step, avg(gen_ex_abs), min(performance) from evaluations group by all')"
    ),
    "group-by of examples": (
        "from orchestrator.query.sql import query; "
        "query([ledger], 'select forget_set, step, avg(gen_ex), quantile_cont(nll, 0.9) from examples group by all')"
    ),
    "filter on forget set, rate and step": (
        'from orchestrator.query.sql import query; query([ledger], "select avg(nll) from examples '
        "where forget_set = 'a' and learning_rate between 1e-5 and 1.1e-5 and step = 10\")"
    ),
}
READ = """
import sys, time
from orchestrator.ledger import DriverWriter, Ledger, repair_ledger
from orchestrator.storage import LocalStorage
from pathlib import Path
ledger = Ledger(storage=LocalStorage(Path(sys.argv[1])), sweep="bench")
times = []
for _ in range({times}):
    start = time.perf_counter()
    {code}
    times.append(time.perf_counter() - start)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
print(*times, peak)
"""


def numbers_of(record: type) -> list[str]:
    """List the fields of a kind of record that are numbers with a fraction."""
    return [name for name, kind in record.__annotations__.items() if kind in (float, float | None)]


def evaluations(random: np.random.Generator, steps: int) -> list[EvaluationRecord]:
    names = numbers_of(EvaluationRecord)
    return [
        EvaluationRecord(
            step=step,
            status=Status.COMPLETED,
            tokens_seen=step,
            **dict(zip(names, random.random(len(names)).tolist(), strict=True)),
        )
        for step in range(1, steps + 1)
    ]


def examples(random: np.random.Generator, step: int, count: int) -> Iterator[ExampleRecord]:
    names = numbers_of(ExampleRecord)
    for index, values in enumerate(random.random((count, len(names))).tolist()):
        numbers = dict(zip(names, values, strict=True))
        yield ExampleRecord(step=step, example_id=f"example-{index:06d}", num_tokens=24, extracted=False, **numbers)


def bare(storage: LocalStorage, path: str, content: bytes) -> float:
    """Give ms of publishing these bytes and nothing else: write aside, fsync, rename, fsync the folder."""
    start = time.perf_counter()
    storage.publish(path, content)
    return 1000 * (time.perf_counter() - start)


def growth(folder: Path, *, steps: int, per_step: int) -> tuple[list[float], list[float], list[float]]:
    """Commit a trial evaluation by evaluation; give each commit's ms, of these the processor's, and the bare ms."""
    ledger = Ledger(storage=LocalStorage(folder), sweep="bench")
    random = np.random.default_rng(0)
    evaluated = evaluations(random, steps)
    explained = [list(examples(random, step, per_step)) for step in range(1, steps + 1)]
    config = TrialConfig(learning_rate=1e-3, batch_size=32)
    trial = Trial(trial_id="0" * 16, forget_set="a", seed=0, config=config, steps=(steps,), horizon=None)
    DriverWriter(ledger).propose(
        trial, number=0, distribution="in", proposal={"number": 0, "point": {}, "step_index": 0, "notes": {}}
    )
    walls, processor, floor = [], [], []
    worker = TrialWriter(ledger)
    for count in range(1, steps + 1):
        flat = [row for rows in explained[:count] for row in rows]
        start, start_processor = time.perf_counter(), time.process_time()
        worker.publish(trial.trial_id, evaluated[:count], flat, None)
        walls.append(1000 * (time.perf_counter() - start))
        processor.append(1000 * (time.process_time() - start_processor))
        written = {
            name: ledger.storage.read(f"{name}/{trial.trial_id}.parquet") for name in ("examples", "evaluations")
        }
        floor.append(sum(bare(LocalStorage(folder / "bare"), name, content) for name, content in written.items()))
    return walls, processor, floor


def fill(ledger: Ledger, *, trials: int, steps: int, per_step: int, committed: int) -> list[float]:
    """Write the ledger; the first and last ``committed`` trials evaluation by evaluation. Give ms of those commits."""
    random = np.random.default_rng(0)
    times, driver, worker = [], DriverWriter(ledger), TrialWriter(ledger)
    for number in range(trials):
        config = TrialConfig(learning_rate=float(10 ** random.uniform(-6, -3)), batch_size=32)
        trial = Trial(
            trial_id=f"{random.integers(2**63):016x}", forget_set="ab"[number % 2], seed=number // 2 % 2, config=config,
            steps=tuple(range(1, steps + 1)), horizon=None,
        )  # fmt: skip
        point = {"learning_rate": config.learning_rate}
        proposal = {"number": number // 4, "point": point, "step_index": steps - 1, "notes": {}}
        driver.propose(trial, number=number // 4, distribution="out" if number % 2 else "in", proposal=proposal)
        evaluated = evaluations(random, steps)
        explained = [list(examples(random, step, per_step)) for step in range(1, steps + 1)]
        by_one = number < committed or number >= trials - committed
        for count in range(1 if by_one else steps, steps + 1):
            outcome = Outcome(status=Status.COMPLETED, last_step=steps, message=None, elapsed_s=1.0)
            flat = [row for rows in explained[:count] for row in rows]
            start = time.perf_counter()
            worker.publish(trial.trial_id, evaluated[:count], flat, outcome if count == steps else None)
            if by_one:
                times.append(1000 * (time.perf_counter() - start))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--examples", type=int, default=64)
    asked = parser.parse_args()
    say = Console(highlight=False, soft_wrap=True).print
    say(f"{asked.trials} trials x {asked.steps} steps x {asked.examples} examples; Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(storage=LocalStorage(Path(folder)), sweep="bench")
        ledger.manifest.create(SPEC.replace("STEPS", str(list(range(1, asked.steps + 1)))), {}, {})
        committed = min(50, asked.trials // 2)
        times = fill(ledger, trials=asked.trials, steps=asked.steps, per_step=asked.examples, committed=committed)
        half = len(times) // 2
        for label, part in (("first", times[:half]), ("last", times[half:])):
            cuts = statistics.quantiles(part, n=10)
            say(
                f"commit, {label} {len(part)}: median {statistics.median(part):.1f} ms "
                f"(10% to 90%: {cuts[0]:.1f} to {cuts[-1]:.1f})"
            )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        files = list(Path(folder).rglob("*.parquet"))
        weight = sum(path.stat().st_size for path in files)
        say(
            f"writer's peak memory {peak:.0f} MiB; {len(files)} files, "
            f"{weight / asked.trials / asked.steps:.0f} bytes an evaluation"
        )
        for steps in (10, 50, 200):
            with tempfile.TemporaryDirectory() as other:
                walls, processor, floor = growth(Path(other), steps=steps, per_step=asked.examples)
            last = slice(-steps // 5, None)
            say(
                f"a trial of {steps} steps: commit, all and last fifth: median {statistics.median(walls):.1f} and "
                f"{statistics.median(walls[last]):.1f} ms, of these processor {statistics.median(processor):.1f} and "
                f"{statistics.median(processor[last]):.1f} ms; the same bytes written, synced and renamed only: "
                f"{statistics.median(floor):.1f} and {statistics.median(floor[last]):.1f} ms"
            )
        say(f"repairing: {in_a_process(folder, 'repair_ledger(ledger)', times=1)}")
        report_readers(folder, "before merging", say)
        say(f"merging: {in_a_process(folder, 'DriverWriter(ledger).merge()', times=1)}")
        copies = sum(path.stat().st_size for path in Path(folder).glob("merged/*"))
        say(f"{copies / 2**20:.0f} MiB of merged copies")
        report_readers(folder, "merged", say)


def report_readers(folder: str, when: str, say: Callable[[str], None]) -> None:
    for label, code in READERS.items():
        say(f"{when}: {label}: {in_a_process(folder, code)}")


def in_a_process(folder: str, code: str, *, times: int = 4) -> str:
    """Run code over the ledger in a process of its own, several times; say how long it took and its peak memory."""
    command = [sys.executable, "-c", READ.format(code=code, times=times), folder]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, *warm, peak = (float(word) for word in done.stdout.split())
    later = f", warm {statistics.median(warm):.2f} s" if warm else ""
    return f"first {first:.2f} s{later}, peak memory {peak:.0f} MiB"


if __name__ == "__main__":
    main()
