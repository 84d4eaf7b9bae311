"""How long a commit takes and what it weighs: one evaluation of 64 examples published at a time, on local disk.

make bench
"""

import argparse
import platform
import statistics
import tempfile
import time
from pathlib import Path

from rich.console import Console

from orchestrator.ledger import Ledger
from orchestrator.storage import LocalStorage
from trainables.config import TrialConfig
from trainables.records import EvaluationRecord, ExampleRecord, Outcome, Status
from trainables.trial import Trial


def evaluation(step: int) -> EvaluationRecord:
    numbers = {
        name: 1.0 / (step + 1) for name, kind in EvaluationRecord.__annotations__.items() if "float" in str(kind)
    }
    return EvaluationRecord(step=step, status=Status.COMPLETED, tokens_seen=step, **numbers)


def example(step: int, index: int) -> ExampleRecord:
    numbers = {name: 1.0 / (index + 1) for name, kind in ExampleRecord.__annotations__.items() if "float" in str(kind)}
    return ExampleRecord(step=step, example_id=f"example-{index:06d}", num_tokens=24, extracted=False, **numbers)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--trials", type=int, default=50)
    arguments.add_argument("--steps", type=int, default=10)
    arguments.add_argument("--examples", type=int, default=64)
    asked = arguments.parse_args()
    times = []
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(storage=LocalStorage(Path(folder)), sweep="bench")
        for number in range(asked.trials):
            config = TrialConfig(learning_rate=1e-4, batch_size=32)
            steps = tuple(range(1, asked.steps + 1))
            trial = Trial(trial_id=f"{number:016x}", forget_set="a", seed=0, config=config, steps=steps, horizon=None)
            ledger.propose(trial, number=number, distribution="in", proposal={})
            evaluations, examples = [], []
            for step in steps:
                evaluations.append(evaluation(step))
                examples.extend(example(step, index) for index in range(asked.examples))
                ended = Outcome(status=Status.COMPLETED, last_step=step, message=None, elapsed_s=1.0)
                start = time.perf_counter()
                ledger.publish(trial.trial_id, evaluations, examples, ended if step == steps[-1] else None)
                times.append(1000 * (time.perf_counter() - start))
        files = list(Path(folder).rglob("*.parquet"))
        weight = sum(path.stat().st_size for path in files)
    deciles = statistics.quantiles(times, n=10)
    Console().print(
        f"{len(times)} commits of one evaluation, {asked.examples} examples each, Python {platform.python_version()}, "
        f"{platform.machine()}\n"
        f"ms a commit: median {statistics.median(times):.1f}, 10% {deciles[0]:.1f}, 90% {deciles[-1]:.1f}\n"
        f"{len(files)} files, {weight / len(times):.0f} bytes an evaluation, examples included"
    )


if __name__ == "__main__":
    main()
