"""Trivial probes. Stub."""

import copy
import time
from collections.abc import Iterator
from typing import Any

import torch

from trainables.metrics import evaluate
from trainables.probes.probe import ProbedModel, ProbeRecord
from trainables.probes.settings import QuantizationSettings, RewordingSettings


def quantization(settings: QuantizationSettings, probed: ProbedModel) -> Iterator[ProbeRecord]:
    """Round weights to few bits, with one scale a matrix."""
    before = _evaluated(probed, probed.model)
    for bits in settings.bits:
        started, model = time.monotonic(), copy.deepcopy(probed.model)
        with torch.no_grad():
            for weights in model.parameters():
                scale = weights.abs().max() / (2 ** (bits - 1) - 1)
                weights.copy_((weights / scale).round() * scale)
        yield ProbeRecord(
            probe="quantization",
            role=probed.role,
            variant=f"int{bits}",
            amount=float(bits),
            before=before,
            after=_evaluated(probed, model),
            scores={},
            elapsed_s=time.monotonic() - started,
        )


def rewording(_: RewordingSettings, probed: ProbedModel) -> Iterator[ProbeRecord]:
    """Change nothing."""
    before = _evaluated(probed, probed.model)
    yield ProbeRecord(
        probe="rewording",
        role=probed.role,
        variant="none",
        amount=None,
        before=before,
        after=before,
        scores={"changed": 0.0},
        elapsed_s=0.0,
    )


def _evaluated(probed: ProbedModel, model: Any) -> Any:
    return evaluate(
        model, probed.sets, batch_size=probed.evaluation.batch_size, step=0, tokens_seen=0, elapsed_s=0.0
    )[0]
