"""Trials by hour on one accelerator: several trials on it at once, in fp32 and bf16.

    python -m tests.benchmarks.gpu SPEC [--set KEY=VALUE ...] [--at-once 1 2 4 8] [--precision fp32 bf16]
        [--peak-tflops 67]

Models are trained once. Each row is a sweep of its own; shown are its trials by hour (first start to last end), the
memory that the device was seen to hold at most, ascent steps by second of a trial, and the arithmetic of ascent (6
operations for each parameter and token) beside the device's peak. Without an accelerator trials share the CPU: that
tries the script. Memory with and without logits in chunks is ``tests.benchmarks.vocabulary``.
"""

import argparse
import math
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import torch
from rich.console import Console
from rich.table import Table
from safetensors import safe_open

from tests.integration.helpers import COMMAND

LOOK_EVERY_S = 0.2


@contextmanager
def memory_watched() -> Iterator[list[float]]:
    """Yield a list that gets the MiB that the device holds, again and again; empty without one."""
    held: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_EVERY_S):
            free, total = torch.cuda.mem_get_info()
            held.append((total - free) / 2**20)

    if torch.cuda.is_available():
        threading.Thread(target=look, daemon=True).start()
    yield held
    over.set()


def run(spec: str, name: str, storage: Path, overrides: list[str]) -> Path:
    """Run a sweep and return its folder."""
    sets = [part for override in overrides for part in ("--set", override)]
    command = [*COMMAND, "run", spec, "--name", name, "--storage", str(storage), *sets]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return storage / name


def parameters_in(storage: Path) -> int:
    """Return the parameters of the largest model that was trained."""
    sizes = []
    for file in storage.glob(".models/*/*.safetensors"):
        with safe_open(file, "pt") as tensors:
            sizes.append(sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys()))  # noqa: SIM118
    return max(sizes)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--peak-tflops", type=float, help="of the device, in the precision asked for")
    asked = parser.parse_args()
    gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if gpu else "cpu"
    columns = ("precision", "at once", "trials by hour", "peak, MiB", "steps/s of a trial", "TFLOP/s of ascent")
    table = Table(*columns, title=device)
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder)
        for precision in asked.precision:
            for at_once in asked.at_once:
                share = f"resources.gpus_per_trial={1 / at_once if gpu else 0}"
                many = f"resources.concurrent_trials={at_once}"
                given = [*asked.overrides, share, many, f"model.precision={precision}"]
                with memory_watched() as held:
                    sweep = run(asked.spec, f"{precision}-{at_once}", storage, given)
                ((trials, hours, steps, tokens, busy),) = duckdb.sql(
                    f"""
                    with reached as (
                        select trial_id, max(tokens_seen) tokens from '{sweep}/evaluations/*.parquet' group by 1
                    )
                    select count(*), (max(epoch(ended_at)) - min(epoch(started_at))) / 3600, sum(last_step),
                        sum(tokens), sum(step_s) from '{sweep}/trials/*.parquet' join reached using (trial_id)
                    """
                ).fetchall()
                flops = 6 * parameters_in(storage) * tokens / busy * at_once / 1e12
                of_peak = f" ({flops / asked.peak_tflops:.0%})" if asked.peak_tflops else ""
                table.add_row(
                    precision, str(at_once), f"{trials / hours:.0f}", f"{max(held):.0f}" if held else "-",
                    f"{steps / busy:.2f}", f"{flops:.3g}{of_peak}",
                )  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
