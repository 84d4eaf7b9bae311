"""Probes that can be killed: a process that is warm, and forks one run of probes for every one it is asked for.

A run probes a real sweep by the inline executor, and kills itself by SIGKILL at the event it is told: a measurement, or
just before or after a change of the storage. What it did is in a log that survives it.

    python -m tests.faults.prober SWEEP    # reads the events to die at, or null, and writes exit codes, a line each
"""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from orchestrator.ledger import open_sweep
from orchestrator.probing import Choice, probe_sweep
from tests.faults.dying import events_of, note_changes
from trainables.config import Config
from trainables.metrics import evaluate
from trainables.probes import Finding, Probe, ProbedModel, register

LOG = "log"
"""Name of the log, beside the sweep."""


class ShrinkingSettings(Config):
    """Settings of ``shrinking``."""

    factors: tuple[float, ...] = (0.9, 0.8, 0.5)
    """What weights are multiplied by."""


def main() -> None:
    torch.set_num_threads(1)
    sweep = sys.argv[1]
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the answers are the parent's
            code = 1
            try:
                _probe(sweep, json.loads(line))
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)  # noqa: T201


def _probe(sweep: str, die_at: int | None) -> None:
    event = events_of(Path(sweep).parent / LOG, die_at)

    def shrinking(probed: ProbedModel, settings: ShrinkingSettings) -> Iterator[Finding]:
        before = _evaluated(probed)
        kept = {name: weights.detach().clone() for name, weights in probed.model.named_parameters()}
        for factor in settings.factors:
            with torch.no_grad():
                for name, weights in probed.model.named_parameters():
                    weights.copy_(kept[name] * factor)
            event("measure", probed.role, f"{before.forget_nll:.6f}", factor)
            yield Finding(variant="all", amount=factor, before=before, after=_evaluated(probed))
        with torch.no_grad():
            for name, weights in probed.model.named_parameters():
                weights.copy_(kept[name])

    note_changes(("publish", "create", "remove", "move"), event)
    for name in ("shrinking", "again"):
        register(name, Probe(run=shrinking, source="test", settings=ShrinkingSettings))
    summary = probe_sweep(open_sweep(sweep), Choice(), probes=["shrinking", "again"], executor="inline")
    assert not summary.failed, summary.failed


def _evaluated(probed: ProbedModel) -> Any:
    size = probed.evaluation.batch_size
    return evaluate(probed.model, probed.sets, batch_size=size, step=0, tokens_seen=0, elapsed_s=0.0)[0]


if __name__ == "__main__":
    main()
