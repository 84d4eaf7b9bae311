"""Trials as a person would write them in plain PyTorch: what no sweep can be faster than, and an oracle of its numbers.

Only the data, the base model and the order of the batches are this tool's.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.nn import functional as F

from trainables.encoding import BatchOrder, EncodedSet, batches_by_length, collate
from trainables.metrics import EvaluationSets
from trainables.records import Trial
from trainables.seeding import derive_seed

SETS = {
    "forget": "forget_nll",
    "population": "population_nll",
    "heldout": "heldout_nll",
    "retain": "retain_nll",
    "distractors": "distractor_nll",
}
"""The sets that every evaluation scores, and the columns of their NLLs."""
CPU = torch.device("cpu")


def trajectory(
    model: Any, base: Mapping[str, torch.Tensor], sets: EvaluationSets, trial: Trial, *, batch_size: int
) -> Iterator[dict[str, float]]:
    """Ascend on a trial's forget set from the base weights and yield the NLLs of every step of its axis, by column.

    Args:
        model: a causal model without dropout, which is changed.
        base: its base weights.
        sets: what is unlearned, and what evaluations score.
        trial: of gradient ascent, by AdamW or SGD, at a constant learning rate, without micro-batches.
        batch_size: examples of an evaluation in a forward pass.
    """
    config = trial.config
    assert (config.objective, config.schedule, config.warmup_steps) == ("gradient_ascent", "constant", 0)
    assert config.optimizer in ("adamw", "sgd")
    assert config.micro_batch_size is None
    assert not config.optimizer_settings
    model.load_state_dict(base)
    common = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw":
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), **common)
    else:
        optimizer = torch.optim.SGD(model.parameters(), momentum=config.momentum, **common)
    order = BatchOrder(
        num_examples=len(sets.forget),
        batch_size=min(config.batch_size, len(sets.forget)),
        seed=derive_seed(trial.ascent_seed, "forget"),
    )
    step = 0
    for reached in trial.steps:
        model.train()
        while step < reached:
            step += 1
            nll, targets = _nll(model, sets.forget, order.indices(step))
            (-nll.sum() / targets.sum()).backward()
            if config.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
        yield {"step": reached, **evaluation(model, sets, batch_size=batch_size)}


def evaluation(model: Any, sets: EvaluationSets, *, batch_size: int) -> dict[str, float]:
    """Return the NLLs of a model by column, in nats per token."""
    model.eval()
    found = {}
    for name, column in SETS.items():
        encoded = getattr(sets, name)
        if encoded is not None:
            with torch.inference_mode():
                parts = [_nll(model, encoded, indices) for indices in batches_by_length(encoded, batch_size)]
            nll, targets = (torch.cat(column) for column in zip(*parts, strict=True))
            found[column] = float(nll.double().sum() / targets.sum())
    return found


def _nll(model: Any, encoded: EncodedSet, indices: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sum of NLLs over the targets of each example, and how many they are."""
    batch = collate(encoded, indices, device=CPU)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1].float()
    labels = batch["labels"][:, 1:]
    nll = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-100, reduction="none")
    return nll.sum(dim=1), (labels != -100).sum(dim=1)
