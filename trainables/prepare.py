"""Train the base model and the reference models, and measure what each knows before unlearning.

Pure functions of their arguments; where results are cached and who runs them in parallel is the orchestrator's.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from trainables.batching import BatchOrder, EncodedSet, collate, encode
from trainables.config import DataConfig, EvaluationConfig, ModelConfig, PreparationConfig
from trainables.corpora import Example
from trainables.errors import UnlearningError
from trainables.evaluation import EvaluationSets
from trainables.forget_sets import Datasets
from trainables.likelihood import score_batch, score_set
from trainables.models import load_tokenizer, new_model, recompute_activations, train_tokenizer
from trainables.seeding import derive_seed, torch_stream


def prepare_tokenizer(model: ModelConfig, datasets: Datasets) -> Any:
    """Give the pretrained tokenizer, or train one on what every model sees: the forget sets leave no trace in it."""
    if model.pretrained is not None:
        return load_tokenizer(model)
    return train_tokenizer([example.text for example in datasets.reference_training()], model.vocab_size)


def train_steps(num_examples: int, preparation: PreparationConfig) -> int:
    """Give the number of optimizer steps of one preparation run."""
    return preparation.epochs * max(1, num_examples // preparation.batch_size)


def train_model(
    *,
    model: ModelConfig,
    preparation: PreparationConfig,
    tokenizer: Any,
    examples: Sequence[Example],
    max_tokens: int,
    seed: int,
    threads: int,
) -> Any:
    """Train one model on ``examples``: AdamW, warm-up in steps, then constant. Deterministic on CPU.

    Raises:
        UnlearningError: the loss became non-finite.
    """
    torch.set_num_threads(threads)
    network = new_model(model, tokenizer=tokenizer, seed=seed)
    if model.gradient_checkpointing:
        recompute_activations(network)
    accelerator = Accelerator(mixed_precision="no")
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=preparation.learning_rate, weight_decay=preparation.weight_decay
    )
    network, optimizer = accelerator.prepare(network, optimizer)
    encoded = encode(tokenizer, examples, max_tokens=max_tokens)
    order = BatchOrder(num_examples=len(encoded), batch_size=preparation.batch_size, seed=derive_seed(seed, "training"))
    network.train()
    for step in range(1, train_steps(len(encoded), preparation) + 1):
        warm = min(1.0, step / preparation.warmup_steps) if preparation.warmup_steps else 1.0
        for group in optimizer.param_groups:
            group["lr"] = preparation.learning_rate * warm
        with torch_stream(seed, "dropout", step):
            batch = collate(encoded, order.indices(step), device=accelerator.device)
            loss = score_batch(network, batch).nll_per_token()
        if not torch.isfinite(loss):
            raise UnlearningError(
                f"preparation: the loss became {float(loss)} at step {step}; lower preparation.learning_rate "
                f"(now {preparation.learning_rate}) or preparation.clip_norm (now {preparation.clip_norm})"
            )
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(network.parameters(), preparation.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return accelerator.unwrap_model(network).cpu()


def encode_all(
    tokenizer: Any, datasets: Datasets, data: DataConfig, evaluation: EvaluationConfig
) -> dict[str, dict[str, EncodedSet]]:
    """Tokenize what evaluations score: ``forget``, ``population``, ``heldout`` and ``retain`` of each forget set."""

    def encoded(examples: Sequence[Example]) -> EncodedSet:
        return encode(tokenizer, examples, max_tokens=data.max_tokens, extraction_prefix=evaluation.extraction_prefix)

    shared = {
        "heldout": encoded(datasets.heldout),
        "retain": encoded(datasets.retain[: data.retain_evaluation]),
    }
    return {
        name: {"forget": encoded(s.forget), "population": encoded(s.population), **shared}
        for name, s in datasets.forget_sets.items()
    }


def evaluation_sets(
    encoded: dict[str, EncodedSet],
    *,
    base: Any,
    references: Sequence[Any],
    batch_size: int,
    max_increase: float,
) -> EvaluationSets:
    """Measure base and reference models on one forget set's data, once and for all."""
    forget = encoded["forget"]
    base_heldout_nll = score_set(base, encoded["heldout"], batch_size=batch_size).nll_per_token
    reference_logp = [score_set(model, forget, batch_size=batch_size).logp_N for model in references]
    return EvaluationSets(
        **encoded,
        base_logp_N=score_set(base, forget, batch_size=batch_size).logp_N,
        reference_logp_SN=np.array(reference_logp).reshape(len(references), len(forget)),
        max_heldout_nll=base_heldout_nll + max_increase,
    )
