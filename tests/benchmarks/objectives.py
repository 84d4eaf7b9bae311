"""Every objective on a tiny causal model and a tiny encoder-decoder, on one worker and on two.

    python -m tests.benchmarks.objectives

Prints the objective's loss on the whole forget set (and as much of the retain set) after the last step on one worker,
where it started, and the largest relative difference of any evaluation's forget, retain and held-out NLL between one
worker and two (DDP over Gloo).
"""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from tests.support import MemorySink, tiny_trial, tiny_workload
from tests.trainables.gloo import GlooGroup
from trainables.encoding import collate
from trainables.objectives import OBJECTIVES, compute
from trainables.records import Trial
from trainables.trial import Engine, TrialRun

STEPS = (0, 1, 2, 5, 10)
METRICS = ("forget_nll", "retain_nll", "heldout_nll")
FORGET = 6
UNTRAINED = {"wga": {"beta": 0.1}, "satimp": {"beta1": 0.1}, "simnpo": {"beta": 0.2}}
"""Settings under which an objective pushes tokens that an untrained model finds unlikely already."""


@cache
def engine_of(encoder_decoder: bool) -> Engine:
    return Engine(tiny_workload(forget=FORGET, encoder_decoder=encoder_decoder, every_s=1e9, max_increase=20.0))


def trial_of(name: str) -> Trial:
    weights: dict[str, Any] = dict(UNTRAINED.get(name, {}))
    if "retain_loss" in OBJECTIVES[name].own_settings:
        weights |= {"retain_loss": "kl" if OBJECTIVES[name].needs_reference else "nll", "retain_weight": 1.0}
    settings = {"optimizer": "sgd", "learning_rate": 0.1, "clip_norm": 1.0, "micro_batch_size": 2}
    return tiny_trial(STEPS, objective=name, objective_settings=weights, batch_size=FORGET, **settings)


def run(name: str, encoder_decoder: bool) -> tuple[float, float, list[dict[str, float]], str]:
    """Give the loss before and after, the metrics of every evaluation, and how the trial ended."""
    engine, trial = engine_of(encoder_decoder), trial_of(name)
    progress = TrialRun(engine, trial, MemorySink())
    before = loss_of(engine, trial)
    while progress.outcome is None:
        progress.advance()
    metrics = [{metric: getattr(row, metric) for metric in METRICS} for row in progress.evaluations]
    return before, loss_of(engine, trial), metrics, progress.outcome.status.value


def loss_of(engine: Engine, trial: Trial) -> float:
    workload, config = engine.workload, trial.config
    with torch.no_grad():
        forget, alternates = workload.evaluation_sets["forget"].forget, workload.alternates["forget"]
        loss = compute(
            config.objective,
            engine.accelerator.unwrap_model(engine.model).eval(),
            collate(forget, range(FORGET)),
            reference_model=engine.frozen_base,
            retain_batch=collate(workload.retain, range(FORGET)),
            alternate_batch=collate(alternates, range(FORGET)),
            **config.objective_settings,
        )
    return loss.item()


def difference(one: list[dict[str, float]], two: list[dict[str, float]]) -> float:
    pairs = [(left[metric], right[metric]) for left, right in zip(one, two, strict=True) for metric in METRICS]
    return max(abs(left - right) / abs(left) for left, right in pairs)


def main() -> None:
    torch.set_num_threads(1)
    table = Table(title=f"loss before -> after {STEPS[-1]} steps; largest relative difference of two workers from one")
    table.add_column("objective")
    for kind in ("causal", "enc-dec"):
        table.add_column(f"{kind}, 1 worker", justify="right")
        table.add_column(f"{kind}, 2 workers", justify="right")
    with tempfile.TemporaryDirectory() as folder:
        team = GlooGroup(2, Path(folder))
        for name in OBJECTIVES:
            cells = []
            for encoder_decoder in (False, True):
                before, after, one, status = run(name, encoder_decoder)
                ended = "" if status == "completed" else f" ({status})"
                others = team(run, name, encoder_decoder)
                assert others[0] == others[1], "both workers have the same numbers, bit for bit"
                cells += [f"{before:.5f} -> {after:.5f}{ended}", f"{difference(one, others[0][2]):.0e}"]
            table.add_row(name, *cells)
        team.close()
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
