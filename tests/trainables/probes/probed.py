"""A probed model of either kind, with texts: tiny, and trained on its forget set."""

from functools import cache
from typing import Any

import torch

from tests.support import tiny_architecture, tiny_examples, tiny_model, tiny_seq2seq_model, tiny_tokenizer
from trainables.config import EvaluationConfig, LoraConfig, ModelConfig
from trainables.data import Example
from trainables.encoding import Form, collate, encode
from trainables.metrics import chosen_metrics, score_batch
from trainables.models import add_adapters
from trainables.preparation import evaluation_sets
from trainables.probes import ProbedModel

KINDS = ["causal", "encoder-decoder"]
MAX_TOKENS = 64
SEQ2SEQ = {"model_type": "t5", "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_decoder_layers": 1}


def texts(count: int, label: str, seed: int) -> list[Example]:
    return [
        Example(example_id=f"{label}-{i}", prompt=f"The {label[:3]} {i} says", completion=e.completion)
        for i, e in enumerate(tiny_examples(count, seed))
    ]


TEXTS = {
    "forget": texts(8, "forget", 1),
    "population": texts(12, "population", 2),
    "heldout": texts(4, "heldout", 3),
    "retain": texts(20, "retain", 4),
    "distractors": texts(3, "distractors", 5),
}


def build(kind: str, seed: int) -> Any:
    return (tiny_seq2seq_model if kind == "encoder-decoder" else tiny_model)(seed=seed)


def encoded(kind: str, examples: list[Example]) -> Any:
    form = Form.PAIR if kind == "encoder-decoder" else Form.TEXT
    return encode(tiny_tokenizer(), examples, max_tokens=MAX_TOKENS, form=form)


def train(model: Any, kind: str, examples: list[Example], steps: int, ascend: bool = False) -> Any:
    batch = collate(encoded(kind, examples), range(len(examples)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    for _ in range(steps):
        loss = score_batch(model, batch).nll_per_token()
        (-loss if ascend else loss).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@cache
def weights(kind: str, role: str) -> dict[str, torch.Tensor]:
    """Return the weights of a base model, of one that unlearned, or of a reference model by its number."""
    kept = [*TEXTS["retain"], *TEXTS["distractors"]]
    if role == "base":
        model = train(build(kind, 0), kind, [*TEXTS["forget"], *kept], 60)
    elif role == "unlearned":
        model = build(kind, 0)
        model.load_state_dict(weights(kind, "base"))
        train(model, kind, TEXTS["forget"], 3, ascend=True)
    else:
        model = train(build(kind, 100 + int(role.removeprefix("reference-"))), kind, kept, 60)
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def model_of(kind: str, role: str) -> Any:
    model = build(kind, 0)
    model.load_state_dict(weights(kind, role))
    return model.eval()


@cache
def sets_of(kind: str, references: int = 2) -> Any:
    own = {name: encoded(kind, examples) for name, examples in TEXTS.items()}
    own["retain"] = own["retain"].select(range(4))
    roles = ["base", *(f"reference-{i}" for i in range(references))]
    models = [model_of(kind, role) for role in roles]
    return evaluation_sets(
        {"forget": own},
        models=models,
        batch_size=16,
        max_increase=3.0,
        metrics=chosen_metrics(EvaluationConfig()),
        examples={"forget": TEXTS},
    )["forget"]


def probed_model(
    kind: str = "causal",
    role: str = "unlearned",
    *,
    references: int = 2,
    lora: LoraConfig | None = None,
    **changes: Any,
) -> ProbedModel:
    """Return a probed model of its own; ``changes`` are other fields than these."""
    architecture = SEQ2SEQ if kind == "encoder-decoder" else tiny_architecture()
    sets, model = sets_of(kind, references), model_of(kind, role)
    if role.startswith("reference-") and references:
        sets = sets.without_reference(int(role.removeprefix("reference-")))
    if lora is not None and role == "unlearned":
        model = add_adapters(model, lora, seed=3).eval()
    fields = {
        "model": model,
        "tokenizer": tiny_tokenizer(),
        "role": role,
        "sets": sets,
        "forget": TEXTS["forget"],
        "heldout": TEXTS["heldout"],
        "retain": [*TEXTS["retain"], *TEXTS["distractors"]],
        "population": TEXTS["population"],
        "config": ModelConfig(architecture=architecture, vocab_size=300, lora=lora),
        "evaluation": EvaluationConfig(batch_size=16),
        "max_tokens": MAX_TOKENS,
        "seed": 5,
    }
    return ProbedModel(**{**fields, **changes})  # type: ignore[arg-type]
