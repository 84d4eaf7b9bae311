"""How probes measure a model, and how they leave it as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from trainables.metrics import EvaluationSets, NonFiniteEvaluationError, evaluate
from trainables.models import has_adapters, named_tensors, temporary_adapters
from trainables.probes.probe import ProbedModel
from trainables.records import EvaluationRecord
from trainables.seeding import derive_seed


def measure(
    probed: ProbedModel, sets: EvaluationSets, *, step: int = 0, tokens_seen: int = 0
) -> EvaluationRecord | None:
    """Evaluate the model as it is now; None: a likelihood is not finite, so that there is nothing to record.

    Args:
        probed: the model.
        sets: what is measured.
        step: steps that the probe has fine-tuned it.
        tokens_seen: targets that the probe has fine-tuned it on.
    """
    size = probed.evaluation.batch_size
    try:
        return evaluate(probed.model, sets, batch_size=size, step=step, tokens_seen=tokens_seen, elapsed_s=0.0)[0]
    except NonFiniteEvaluationError:
        return None


@contextmanager
def restored_afterwards(model: Any) -> Iterator[None]:
    """Let a block train a model, and put its weights back afterwards, bit for bit. They wait in main memory."""
    kept = {name: tensor.detach().to("cpu", copy=True) for name, tensor in named_tensors(model).items()}
    try:
        yield
    finally:
        model.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, tensor in named_tensors(model).items():
                tensor.copy_(kept[name])


@contextmanager
def fine_tunable(probed: ProbedModel) -> Iterator[Any]:
    """Yield the model that is fine-tuned in a block: with adapters where the sweep trains adapters, whatever the role.

    Otherwise base and reference models, which have none, would be fine-tuned in all their weights, and an unlearned
    model in its adapters only, which no comparison would survive.
    """
    lora = probed.config.lora
    if lora is None or has_adapters(probed.model):
        yield probed.model
        return
    with temporary_adapters(probed.model, lora, seed=derive_seed(probed.seed, "relearning", "adapters")) as adapted:
        yield adapted
