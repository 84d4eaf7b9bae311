"""What the actors of one machine take of its memory: base weights mapped from the object store, or copied by each.

    python -m tests.benchmarks.base_weights

Prints the private memory (USS) of all actors together, beyond that of an actor that has only imported, and the seconds
until each had its engine and until base weights were restored.
"""

import gc
import statistics
import time
from dataclasses import replace
from typing import Any

import psutil
import ray
from rich.console import Console
from rich.table import Table

from tests.support import tiny_tokenizer, tiny_workload
from trainables.config import ModelConfig
from trainables.models import new_model, snapshot
from trainables.trial import Engine, Workload

ARCHITECTURE = {
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}
RESTORES = 5
MIB = 2**20


@ray.remote(num_cpus=1)
class Actor:
    """Holds an engine, as a trial's actor does."""

    def private(self) -> int:
        gc.collect()
        return int(psutil.Process().memory_full_info().uss)

    def build(self, workload: Workload, *, copies: bool) -> tuple[float, float]:
        """Build the engine; give the seconds of that, and of one restore (median)."""
        if copies:
            arrays = {name: array.copy() for name, array in workload.base.arrays.items()}
            workload = replace(workload, base=replace(workload.base, arrays=arrays))
        begun = time.perf_counter()
        self._engine = Engine(workload)
        built = time.perf_counter() - begun
        return built, statistics.median(self._restore_s() for _ in range(RESTORES))

    def _restore_s(self) -> float:
        begun = time.perf_counter()
        self._engine.workload.base.restore(self._engine.model)
        return time.perf_counter() - begun


def measure(workload: Any, count: int, *, copies: bool) -> tuple[float, float, float]:
    """Give what ``count`` actors take, in MiB, and the median seconds of building and restoring."""
    actors = [Actor.remote() for _ in range(count)]
    before = ray.get([actor.private.remote() for actor in actors])
    times = [ray.get(actor.build.remote(workload, copies=copies)) for actor in actors]  # one after another, to time it
    after = ray.get([actor.private.remote() for actor in actors])
    for actor in actors:
        ray.kill(actor)
    built, restored = zip(*times, strict=True)
    return (sum(after) - sum(before)) / MIB, statistics.median(built), statistics.median(restored)


def main() -> None:
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    model = new_model(ModelConfig(architecture=ARCHITECTURE, vocab_size=300), tokenizer=tiny_tokenizer(), seed=0)
    base = snapshot(model)
    size = sum(array.nbytes for array in base.arrays.values()) / MIB
    workload = ray.put(replace(tiny_workload(), base=base))
    table = Table(title=f"a model of {size:.0f} MiB; the object store holds it once")
    for column in ("actors", "base weights", "private memory, MiB", "an actor, MiB", "engine built, s", "restored, ms"):
        table.add_column(column, justify="right")
    for count in (1, 2, 4):
        for copies in (False, True):
            private, built, restored = measure(workload, count, copies=copies)
            kind = "copied" if copies else "mapped"
            row = (f"{private:.0f}", f"{private / count:.0f}", f"{built:.2f}", f"{restored * 1e3:.0f}")
            table.add_row(str(count), kind, *row)
    Console(width=120).print(table)
    ray.shutdown()


if __name__ == "__main__":
    main()
