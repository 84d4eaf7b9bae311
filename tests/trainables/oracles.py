"""Losses written out once more, example by example and token by token, from the papers' equations.

``Row`` is the logits of one position with the label that they predict, ``IGNORE`` where it is not a target.
"""

from typing import Any

import torch

from trainables.encoding import IGNORE, Batch
from trainables.objectives import check_objective

Row = tuple[torch.Tensor, int]
Example = list[Row]


def all_settings(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return every setting of an objective by name, the retain loss that some cannot do without included."""
    return {"retain_loss": "kl", **dict(check_objective(name, given))}


def examples_of(model: Any, batch: Batch) -> list[Example]:
    """Run every example of a batch alone, without its padding."""
    return [_example(model, {name: row[i] for name, row in batch.items()}) for i in range(len(batch["labels"]))]


def _example(model: Any, row: Batch) -> Example:
    read = row["input_ids"][row["attention_mask"] == 1]
    if not model.config.is_encoder_decoder:
        logits = model(input_ids=read[None]).logits[0]
        labels = [*row["labels"][1 : len(read)].tolist(), IGNORE]
    else:
        target = [label for label in row["labels"].tolist() if label != IGNORE]
        start = model.config.decoder_start_token_id
        logits = model(input_ids=read[None], decoder_input_ids=torch.tensor([[start, *target[:-1]]])).logits[0]
        labels = target
    return list(zip(logits.double(), labels, strict=True))


def targets(example: Example) -> Example:
    return [(row, label) for row, label in example if label != IGNORE]


def nll(row: torch.Tensor, label: int) -> torch.Tensor:
    return -torch.log(row.exp()[label] / row.exp().sum())


def total(values: list[Any]) -> Any:
    return sum(values, torch.zeros((), dtype=torch.double))


def mean(values: list[list[Any]], reduction: str) -> Any:
    """The mean over tokens, or over sequences; a sequence of no token is none."""
    values = [tokens for tokens in values if tokens]
    if reduction == "token":
        return total([value for tokens in values for value in tokens]) / sum(len(tokens) for tokens in values)
    return total([total(tokens) / len(tokens) for tokens in values]) / len(values)


def nlls(examples: list[Example]) -> list[list[torch.Tensor]]:
    return [[nll(row, label) for row, label in targets(example)] for example in examples]


def kl(reference: torch.Tensor, current: torch.Tensor) -> torch.Tensor:
    p, q = reference.exp() / reference.exp().sum(), current.exp() / current.exp().sum()
    return (p * (p / q).log()).sum()


def cross_entropy(target: torch.Tensor, current: torch.Tensor) -> torch.Tensor:
    return -(target * (current.exp() / current.exp().sum()).log()).sum()


def led_away(row: torch.Tensor, label: int, beta: float) -> torch.Tensor:
    """The softmax of a teacher whose logit of the label is lower by ``beta``."""
    row = row.detach().clone()
    row[label] -= beta
    return row.exp() / row.exp().sum()


def retain_term(s: dict[str, Any], current: list[Example], reference: list[Example]) -> Any:
    if s["retain_loss"] == "nll":
        return mean(nlls(current), s["reduction"])
    chosen = targets if s["kl_positions"] == "target" else list
    pairs = [zip(chosen(ours), chosen(theirs), strict=True) for ours, theirs in zip(current, reference, strict=True)]
    return mean([[kl(theirs, ours) for (ours, _), (theirs, _) in pair] for pair in pairs], s["reduction"])


def preference(margin: Any, beta: float) -> Any:
    return -2 / beta * torch.log(1 / (1 + torch.exp(-beta * margin)))


def length(example: Example, how: str) -> Any:
    """S: the NLL of an example."""
    values = [nll(row, label) for row, label in targets(example)]
    return total(values) / (len(values) if how == "mean" else 1)


def forget_term(
    name: str,
    s: dict[str, Any],
    current: list[Example],
    reference: list[Example],
    alternate: list[Example],
    alternate_reference: list[Example],
) -> Any:
    """What an objective minimises on the forget batch."""
    count = len(current)
    match name:
        case "gradient_ascent" | "gradient_difference" | "kl_ascent":
            return -mean(nlls(current), s["reduction"])
        case "task_vector":
            return mean(nlls(current), s["reduction"])
        case "bounded_ascent":
            bounded = [[(s["bound"] - v) * (v < s["bound"]) for v in example] for example in nlls(current)]
            return mean(bounded, s["reduction"])
        case "wga":
            return mean([[-((-v.detach()).exp() ** s["beta"]) * v for v in e] for e in nlls(current)], s["reduction"])
        case "satimp":
            weigh = lambda p: p ** s["beta1"] * (1 - p) ** s["beta2"]  # noqa: E731
            return mean([[-weigh((-v.detach()).exp()) * v for v in e] for e in nlls(current)], s["reduction"])
        case "undial":
            pairs = [zip(targets(c), targets(r), strict=True) for c, r in zip(current, reference, strict=True)]
            ways = [[cross_entropy(led_away(r, y, s["beta"]), c) for (c, y), (r, _) in pair] for pair in pairs]
            return mean(ways, s["reduction"])
        case "ceu":
            kept = [targets(example)[int(s["ignore_first"]) :] for example in current]
            return mean([[cross_entropy(led_away(c, y, float("inf")), c) for c, y in e] for e in kept], s["reduction"])
        case "simnpo":
            return total([preference(length(e, "mean") - s["delta"], s["beta"]) for e in current]) / count
        case "npo" | "dpo":
            margins = [length(c, s["length"]) - length(r, s["length"]) for c, r in zip(current, reference, strict=True)]
            if name == "dpo":
                others = zip(alternate, alternate_reference, strict=True)
                won = [length(c, s["length"]) - length(r, s["length"]) for c, r in others]
                margins = [lost - win for lost, win in zip(margins, won, strict=True)]
            return total([preference(margin, s["beta"]) for margin in margins]) / count
    raise AssertionError(f"no oracle for {name}")
