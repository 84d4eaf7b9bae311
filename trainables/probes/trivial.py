"""Trivial probes. Stub."""

import copy
from collections.abc import Iterator
from typing import Any

import torch

from trainables.metrics import evaluate
from trainables.probes.probe import Finding, ProbedModel
from trainables.probes.settings import QuantizationSettings, RewordingSettings


def quantization(probed: ProbedModel, settings: QuantizationSettings) -> Iterator[Finding]:
    """Round weights to few bits, with one scale a matrix."""
    before = _evaluated(probed, probed.model)
    for bits in settings.bits:
        model = copy.deepcopy(probed.model)
        with torch.no_grad():
            for weights in model.parameters():
                scale = weights.abs().max() / (2 ** (bits - 1) - 1)
                weights.copy_((weights / scale).round() * scale)
        yield Finding(
            variant=f"int{bits}",
            amount=float(bits),
            before=before,
            after=_evaluated(probed, model),
            scores={},
        )


def rewording(probed: ProbedModel, _: RewordingSettings) -> Iterator[Finding]:
    """Change nothing."""
    before = _evaluated(probed, probed.model)
    yield Finding(
        variant="none",
        amount=None,
        before=before,
        after=before,
        scores={"changed": 0.0},
    )


def _evaluated(probed: ProbedModel, model: Any) -> Any:
    return evaluate(model, probed.sets, batch_size=probed.evaluation.batch_size, step=0, tokens_seen=0, elapsed_s=0.0)[
        0
    ]
