"""Peak memory and time of a step and of an evaluation by size of the vocabulary, with logits in chunks and all at once.

Each measurement is a process of its own, in interleaved rounds: memory is the peak of the process above what it has
with model and gradients in place (on a GPU, what PyTorch allocates), so that it is what the work itself takes.

    python -m tests.benchmarks.vocabulary --sizes 1000 49000 128000 256000 --rounds 3
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Table

from trainables.encoding import EncodedSet, collate
from trainables.metrics import likelihood, score_set
from trainables.objectives import compute

WORK = ("step", "kl step", "evaluation")
KINDS = ("all at once", "in chunks")


def measure(kind: str, work: str, vocabulary: int, *, batch: int, tokens: int, width: int) -> dict[str, float]:
    """Return peak MiB and seconds of one piece of work, in this process."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if kind == "all at once":
        likelihood.split_output = lambda *_: None  # type: ignore[attr-defined]
        likelihood.CHUNK = 10**15
    config = transformers.LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=tokens, tie_word_embeddings=True,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).to(device)
    base = transformers.LlamaForCausalLM(config).to(device).requires_grad_(False) if work == "kl step" else None
    random = np.random.default_rng(0)
    encoded = EncodedSet(
        example_ids=tuple(map(str, range(batch))),
        tokens=random.integers(2, vocabulary, size=batch * tokens),
        offsets=np.arange(batch + 1) * tokens,
        target_starts_N=np.ones(batch, dtype=int),
        prefix_ends_N=np.full(batch, 2),
    )
    whole = collate(encoded, range(batch), device=device)
    small = collate(encoded.select([0]), [0], device=device)

    def run(given: object, some: EncodedSet) -> None:
        if work == "evaluation":
            score_set(model, some, batch_size=batch)
            return
        settings = {} if base is None else {"retain_loss": "kl", "retain_weight": 1.0}
        name = "gradient_ascent" if base is None else "gradient_difference"
        more = {} if base is None else {"reference_model": base, "retain_batch": given}
        compute(name, model, given, **more, **settings).backward()

    run(small, encoded.select([0]))  # gradients are there, and libraries are loaded
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start = time.perf_counter()
    run(whole, encoded)
    seconds = time.perf_counter() - start
    peak = (
        torch.cuda.max_memory_allocated()
        if device == "cuda"
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    return {"mib": (peak - before) / 2**20, "seconds": seconds}


def main() -> None:
    """Measure every combination in turn, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 49000, 128000, 256000])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    shape = {"batch": asked.batch, "tokens": asked.tokens, "width": asked.width}
    if asked.one:
        kind, work, vocabulary = asked.one
        sys.stdout.write(json.dumps(measure(kind, work, int(vocabulary), **shape)))
        return
    found: dict[tuple[str, str, int], list[dict[str, float]]] = {}
    for _ in range(asked.rounds):
        for vocabulary in asked.sizes:
            for work in WORK:
                for kind in KINDS:
                    flags = [part for name, value in shape.items() for part in (f"--{name}", str(value))]
                    command = [
                        sys.executable,
                        "-m",
                        "tests.benchmarks.vocabulary",
                        *flags,
                        "--one",
                        kind,
                        work,
                        str(vocabulary),
                    ]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    found.setdefault((work, kind, vocabulary), []).append(json.loads(done.stdout.splitlines()[-1]))
    shown = f"{asked.batch} x {asked.tokens} tokens, width {asked.width}; medians of {asked.rounds}"
    table = Table(title=f"{shown}; {platform.processor() or platform.machine()}, PyTorch {torch.__version__}")
    for name in (
        "vocabulary",
        "work",
        "MiB at once",
        "MiB in chunks",
        "s at once",
        "s in chunks",
        "time, ratio (range)",
    ):
        table.add_column(name, justify="left" if name == "work" else "right")
    for vocabulary in asked.sizes:
        for work in WORK:
            plain, chunked = (found[work, kind, vocabulary] for kind in KINDS)
            mib = [statistics.median(one["mib"] for one in own) for own in (plain, chunked)]
            seconds = [statistics.median(one["seconds"] for one in own) for own in (plain, chunked)]
            ratios = sorted(b["seconds"] / a["seconds"] for a, b in zip(plain, chunked, strict=True))
            table.add_row(
                f"{vocabulary:,}", work, *(f"{one:,.0f}" for one in mib), *(f"{one:.2f}" for one in seconds),
                f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
            )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
