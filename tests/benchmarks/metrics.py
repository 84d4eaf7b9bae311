"""What each metric adds to an evaluation, as a share of one without metrics, for the demo's model and set sizes.

    python -m tests.benchmarks.metrics [ROUNDS]

Every round evaluates each choice once, in turn: what slows the machine slows all alike. Prints the median of the
rounds' ratios, with the smallest and the largest. The tokens are drawn at random, in the lengths of the demo's verses.
"""

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoConfig, AutoModelForCausalLM

from orchestrator.spec import load_spec
from tests.support import texts_of
from trainables.config import EvaluationConfig
from trainables.encoding import EncodedSet
from trainables.metrics import DEFAULT_METRICS, SHIPPED, EvaluationSets, chosen_metrics, evaluate
from trainables.preparation import evaluation_sets

ROUNDS = 7
LENGTH = 24
"""Tokens of an example, one of which starts the text."""
OF_LIKELIHOODS = [
    name for name, metric in SHIPPED.items() if not {"perturbed", "generations", "samples"} & metric.reads
]
"""Metrics that need neither other answers nor generated texts."""


def drawn(count: int, vocabulary: int, seed: int) -> EncodedSet:
    random = np.random.default_rng(seed)
    return EncodedSet(
        example_ids=tuple(f"{seed}-{index}" for index in range(count)),
        tokens=random.integers(2, vocabulary, size=count * LENGTH),
        offsets=np.arange(count + 1) * LENGTH,
        target_starts_N=np.ones(count, dtype=np.int64),
        prefix_ends_N=np.full(count, LENGTH // 2),
    )


def sets_of(vocabulary: int, models: Sequence[Any], sizes: Mapping[str, int]) -> EvaluationSets:
    encoded = {name: drawn(count, vocabulary, seed) for seed, (name, count) in enumerate(sizes.items())}
    return evaluation_sets(
        {"forget": encoded},
        models=models,
        batch_size=64,
        max_increase=3.0,
        metrics=chosen_metrics(EvaluationConfig(metrics=OF_LIKELIHOODS)),
        examples={"forget": {name: texts_of(own) for name, own in encoded.items()}},
    )["forget"]


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    spec = load_spec("demo")
    vocabulary = spec.model.vocab_size
    config = AutoConfig.for_model(**{**spec.model.architecture, "vocab_size": vocabulary})  # type: ignore[dict-item]
    models = [AutoModelForCausalLM.from_config(config).eval() for _ in range(4)]
    own = next(iter(spec.data.forget_sets.values()))
    sizes = {"forget": own.size, "population": own.population, "heldout": spec.data.heldout}
    sets = sets_of(vocabulary, models, {**sizes, "retain": spec.data.retain_evaluation})  # type: ignore[dict-item]
    choices: dict[str, Sequence[str]] = {"none": (), "the default ones": DEFAULT_METRICS}
    choices |= {name: (name,) for name in OF_LIKELIHOODS}
    seconds: dict[str, list[float]] = {name: [] for name in choices}
    for _ in range(rounds + 1):  # the first warms up
        for name, metrics in choices.items():
            chosen = replace(sets, metrics=chosen_metrics(EvaluationConfig(metrics=list(metrics))))
            began = time.perf_counter()
            evaluate(models[0], chosen, batch_size=64, step=0, tokens_seen=0, elapsed_s=0.0)
            seconds[name].append(time.perf_counter() - began)
    table = Table("metrics", "median, ms", "of one without: median", "least", "most")
    for name, own_s in seconds.items():
        ratios = [a / b for a, b in zip(own_s[1:], seconds["none"][1:], strict=True)]
        median = statistics.median(own_s[1:])
        table.add_row(
            name, f"{1000 * median:.0f}", *(f"{x:.3f}" for x in (statistics.median(ratios), min(ratios), max(ratios)))
        )
    Console().print(table)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
