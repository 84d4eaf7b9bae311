"""A model trained by several workers is the one that a worker alone trains: replicated and sharded, however batches
divide."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from tests.support import (
    VOCAB_SIZE,
    FakeClock,
    MemorySink,
    same_tensors,
    tiny_architecture,
    tiny_examples,
    tiny_model,
    tiny_tokenizer,
)
from tests.trainables.gloo import GlooGroup
from trainables.config import LoraConfig, ModelConfig, PreparationConfig
from trainables.distributed import current_worker_group
from trainables.errors import ResultsError, UnlearningError
from trainables.models import named_tensors, save_model
from trainables.preparation import REPORTED_EVERY_S, Training, train_to_end
from trainables.preparation import training as training_module

KEY = "model"
PARALLELISMS = ["ddp", "fsdp"]
MISTRAL = {**tiny_architecture(), "model_type": "mistral", "num_key_value_heads": 1}
T5 = {
    "model_type": "t5", "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2,
    "dropout_rate": 0.0,
}  # fmt: skip
RECIPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "divides evenly": ({}, {}),
    "uneven, clipped": ({}, {"batch_size": 5, "clip_norm": 0.05, "weight_decay": 0.1}),
    "fewer examples than workers": ({}, {"batch_size": 1, "epochs": 1}),
    "untied and recomputed": (
        {"architecture": tiny_architecture(tied=False), "gradient_checkpointing": True},
        {"batch_size": 3},
    ),
    "of another kind than those before": ({"architecture": MISTRAL}, {"batch_size": 3}),
    "encoder-decoder": ({"architecture": T5}, {"batch_size": 3}),
}
"""Changes of model and recipe."""
CASES = [(name, parallelism) for name in RECIPES for parallelism in PARALLELISMS]
CASES.remove(("encoder-decoder", "fsdp"))  # PyTorch does not shard the embeddings that T5's two halves share


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two workers of each parallelism, which is one of their processes."""
    teams = {name: GlooGroup(2, tmp_path_factory.mktemp("team")) for name in PARALLELISMS}
    yield teams.__getitem__
    for team in teams.values():
        team.close()


def new_training(model: dict[str, Any], recipe: dict[str, Any], parallelism: str = "ddp") -> Training:
    return Training(
        model=ModelConfig(**{"architecture": tiny_architecture(), "vocab_size": VOCAB_SIZE, **model}),
        preparation=PreparationConfig(
            **{"epochs": 2, "batch_size": 8, "learning_rate": 0.02, "warmup_steps": 2, **recipe}
        ),
        tokenizer=tiny_tokenizer(),
        examples=tiny_examples(16, prompts=True),
        max_tokens=64,
        seed=5,
        threads=1,
        group=current_worker_group(),
        parallelism=parallelism,
    )


def trained(model: dict[str, Any], recipe: dict[str, Any], parallelism: str = "ddp") -> Any:
    """Train to the end; return the weights (None: another has them), the loss and the last checkpoint."""
    training = new_training(model, recipe, parallelism)
    assert train_to_end(training, MemorySink(), KEY, every_s=1e9) is None
    whole, payload = training.whole_model(), training.pack()
    weights = None if whole is None else {name: tensor.detach() for name, tensor in named_tensors(whole).items()}
    return weights, training.loss, payload


def assert_near(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name].numpy(), tensor.numpy(), rtol=1e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(("recipe", "parallelism"), CASES)
def test_two_workers_train_the_model_that_one_trains(group: Any, parallelism: str, recipe: str) -> None:
    model, changes = RECIPES[recipe]
    expected, loss, kept = trained(model, changes)
    (found, loss_of_leader, payload), (others, loss_of_other, nothing) = group(parallelism)(
        trained, model, changes, parallelism
    )
    assert_near(found, expected)
    assert_near(safetensors.torch.load(payload), safetensors.torch.load(kept))
    assert loss_of_leader == loss_of_other == pytest.approx(loss, rel=1e-5)
    assert nothing == b""
    if parallelism == "ddp":
        assert all(torch.equal(others[name], tensor) for name, tensor in found.items()), "workers agree bit for bit"
    else:
        assert others is None


@pytest.mark.parametrize("parallelism", PARALLELISMS)
def test_adapters_are_trained_together(group: Any, parallelism: str, tmp_path: Path) -> None:
    save_model(tiny_model(), tiny_tokenizer(), tmp_path)
    model = {"architecture": None, "pretrained": str(tmp_path), "lora": LoraConfig(rank=2, alpha=4), "vocab_size": None}
    model = {name: value for name, value in model.items() if value is not None}
    expected, _, kept = trained({"architecture": None, **model}, {"batch_size": 3})
    (found, _, payload), _ = group(parallelism)(
        trained, {"architecture": None, **model}, {"batch_size": 3}, parallelism
    )
    assert all("lora" in name for name in found)
    assert_near(found, expected)
    assert_near(safetensors.torch.load(payload), safetensors.torch.load(kept))


def gone_on(payload: bytes | None, to_step: int, parallelism: str = "ddp") -> tuple[bytes, bytes]:
    """Go on from a payload of the leader's; return it as it is packed at once, and at a later step."""
    training = new_training({}, {"batch_size": 5}, parallelism)
    if payload is not None:
        training.unpack(payload if training.group.is_leader else b"")
    first = training.pack()
    while training.step < to_step:
        training.advance()
    return first, training.pack()


@pytest.mark.parametrize("parallelism", PARALLELISMS)
def test_a_checkpoint_of_any_width_goes_on_at_any_other(group: Any, parallelism: str) -> None:
    _, unbroken = gone_on(None, 6)
    (_, at_2), other = group(parallelism)(gone_on, None, 2, parallelism)
    assert other == (b"", b"")
    as_read, at_4 = gone_on(at_2, 4)
    (as_read_together, at_6), _ = group(parallelism)(gone_on, at_4, 6, parallelism)
    assert same_tensors(as_read, at_2)
    assert same_tensors(as_read_together, at_4)
    assert_near(safetensors.torch.load(at_6), safetensors.torch.load(unbroken))


@pytest.mark.parametrize("parallelism", PARALLELISMS)
def test_a_loss_that_is_not_finite_on_one_worker_ends_the_training_on_all(group: Any, parallelism: str) -> None:
    ((said, step), other) = group(parallelism)(exploding, parallelism)
    assert (said, step) == other
    assert "the loss became nan at step 2; lower preparation.learning_rate" in said
    assert step == 1


def exploding(parallelism: str) -> tuple[str, int]:
    training, real = new_training({}, {}, parallelism), training_module.score_batch

    def spoilt(*args: Any) -> Any:
        scores = real(*args)
        scores.logp_BT.data *= torch.nan if training.step == 1 and training.group.rank == 1 else 1
        return scores

    training_module.score_batch = spoilt
    try:
        with pytest.raises(UnlearningError) as caught:
            train_to_end(training, MemorySink(), KEY, every_s=1e9)
    finally:
        training_module.score_batch = real
    return str(caught.value), training.step


def test_the_leaders_clock_storage_and_reports_decide(group: Any) -> None:
    (warning, saved, reported), other = group("ddp")(deciding)
    assert "damaged" in warning
    assert other == (warning, 0, []), "the other goes by the leader's storage and clock, and neither saves nor reports"
    assert saved == 3
    assert reported == [1, 2, 3]


def deciding() -> tuple[str | None, int, list[int]]:
    training, store, reported = new_training({}, {}), MemorySink(), []
    if training.group.is_leader:
        store.save_checkpoint(KEY, b"noise")
        store.calls.clear()
    clock = FakeClock(tick=REPORTED_EVERY_S if training.group.is_leader else 0.0)
    warning = train_to_end(
        training, store, KEY, every_s=0, clock=clock, report=lambda state: reported.append(state.step)
    )
    return warning, len(store.calls), reported


def test_a_storage_that_fails_the_leader_stops_all(group: Any) -> None:
    assert group("ddp")(failing) == ["no room", "no room"]


class Full(MemorySink):
    def save_checkpoint(self, key: str, payload: bytes) -> None:
        raise ResultsError("no room")


def failing() -> str:
    training = new_training({}, {})
    with pytest.raises(ResultsError) as caught:
        train_to_end(training, Full() if training.group.is_leader else MemorySink(), KEY, every_s=0)
    return str(caught.value)


def test_every_worker_has_a_dropout_of_its_own_and_the_leaders_is_that_of_one_worker(group: Any) -> None:
    alone = dropout_seeds()
    leader, other = group("ddp")(dropout_seeds)
    assert leader == alone
    assert not set(leader) & set(other)


def dropout_seeds() -> list[int]:
    training, seen = new_training({}, {}), []
    training.model.register_forward_pre_hook(lambda *_: seen.append(torch.initial_seed()))
    for _ in range(3):
        training.advance()
    return seen
