"""A checkpoint gives model, optimizer and progress back bit for bit, in a format that runs no code."""

import pytest
import safetensors.torch
import torch

from tests.support import same_state, state_of, tiny_encoded, tiny_model
from trainables.batching import collate
from trainables.checkpoints import Progress, pack, unpack
from trainables.likelihood import score_batch

PROGRESS = Progress(step=3, tokens_seen=41, elapsed_s=1.25)
OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1),
}


def take_steps(model, optimizer, count):
    for _ in range(count):
        optimizer.zero_grad()
        score_batch(model, collate(tiny_encoded(4), range(4))).nll_per_token().backward()
        optimizer.step()


def flat(optimizer):
    return {
        f"{index}.{key}": torch.as_tensor(value).numpy().copy()
        for index, entries in optimizer.state_dict()["state"].items()
        for key, value in entries.items()
        if value is not None
    }


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_rest_of_the_trajectory_is_bit_identical(name, tied):
    model = tiny_model(tied=tied)
    optimizer = OPTIMIZERS[name](model.parameters())
    take_steps(model, optimizer, 3)
    payload = pack(model, optimizer, PROGRESS)

    other = tiny_model(seed=1, tied=tied)
    other_optimizer = OPTIMIZERS[name](other.parameters())
    take_steps(other, other_optimizer, 1)
    assert unpack(payload, other, other_optimizer) == PROGRESS
    assert same_state(state_of(other), state_of(model))
    assert same_state(flat(other_optimizer), flat(optimizer))
    assert bool(flat(optimizer)) == (name != "sgd")

    take_steps(model, optimizer, 2)
    take_steps(other, other_optimizer, 2)
    assert same_state(state_of(other), state_of(model))


def test_a_checkpoint_of_step_0_clears_the_optimizer():
    model = tiny_model()
    payload = pack(model, OPTIMIZERS["adamw"](model.parameters()), PROGRESS)
    used = OPTIMIZERS["adamw"](model.parameters())
    take_steps(model, used, 2)
    unpack(payload, model, used)
    assert flat(used) == {}
    assert same_state(state_of(model), state_of(tiny_model()))


def test_packing_changes_nothing():
    model = tiny_model()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    take_steps(model, optimizer, 1)
    before = state_of(model)
    moments = flat(optimizer)
    pack(model, optimizer, PROGRESS)
    assert same_state(state_of(model), before)
    assert same_state(flat(optimizer), moments)


def test_the_payload_is_safetensors_and_holds_no_pickle():
    model = tiny_model()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    take_steps(model, optimizer, 1)
    payload = pack(model, optimizer, PROGRESS)
    tensors = safetensors.torch.load(payload)
    assert {name.split(".")[0] for name in tensors} == {"model", "optimizer"}
    length = int.from_bytes(payload[:8], "little")
    sizes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    assert 8 + length + sizes == len(payload)  # a header and raw numbers: there is room for nothing else
