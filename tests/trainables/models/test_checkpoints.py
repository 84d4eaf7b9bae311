"""A checkpoint restores model, optimizer and progress bit for bit, in a format that runs no code."""

import copy
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.support import same_state, state_of, tiny_encoded, tiny_model
from trainables.encoding import collate
from trainables.metrics import score_batch
from trainables.models import DamagedCheckpointError
from trainables.models.checkpoints import Progress, pack, unpack

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


class Nested(torch.optim.SGD):
    """An optimizer with every kind of state: tensors in lists and dictionaries, plain values, a count in the group."""

    KEPT = {  # noqa: RUF012
        "matrices": [torch.arange(3.0), [], [torch.ones(2, 2)]],
        "basis": None,
        "by_name": {"mean": torch.tensor(2.5), "frozen": True, "share": 0.1},
        "steps": 3,
    }

    def step(self, closure=None):
        for group in self.param_groups:
            group["step"] = group.get("step", 0) + 1
            for parameter in group["params"]:
                self.state[parameter].update(copy.deepcopy(self.KEPT))
        return super().step(closure)


def flattened(value, path=""):
    if isinstance(value, torch.Tensor):
        return {path: (value.dtype, value.tolist())}
    if isinstance(value, list | dict):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {path: type(value)} | {
            k: v for key, inner in items for k, v in flattened(inner, f"{path}.{key}").items()
        }
    return {path: value}


def test_whatever_an_optimizer_keeps_comes_back_as_it_was():
    model = torch.nn.Linear(3, 2)
    optimizer = Nested(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.step()
    payload = pack(model, optimizer, PROGRESS)
    other = Nested(torch.nn.Linear(3, 2).parameters(), lr=0.5)
    other.step()
    unpack(payload, model, other)
    kept = flattened(Nested.KEPT)
    assert [flattened(state) for state in other.state_dict()["state"].values()] == [kept, kept]
    assert other.param_groups[0]["step"] == 2
    assert other.param_groups[0]["lr"] == 0.5, "settings are the trial's"
    assert "optimizer.0.matrices.2.0" in safetensors.torch.load(payload), "a tensor is no JSON"


def test_a_checkpoint_of_step_0_clears_what_an_optimizer_keeps_in_its_groups():
    model = torch.nn.Linear(3, 2)
    payload = pack(model, Nested(model.parameters(), lr=0.1), PROGRESS)
    used = Nested(model.parameters(), lr=0.1)
    used.step()
    unpack(payload, model, used)
    assert "step" not in used.param_groups[0]


def test_a_checkpoint_of_version_1_still_loads():
    """The file is of the first version, after three steps of AdamW; the expected weights are those after a fourth."""
    payload = (Path(__file__).parent / "fixtures" / "checkpoint-version-1.safetensors").read_bytes()
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    assert unpack(payload, model, optimizer) == PROGRESS
    optimizer.zero_grad()
    model(torch.arange(3.0) + 3).square().sum().backward()
    optimizer.step()
    weight = [[-0.05742708593606949, 0.41021010279655457, -0.357801228761673],
              [-0.18440887331962585, -0.1340159773826599, 0.22113992273807526]]  # fmt: skip
    torch.testing.assert_close(model.weight, torch.tensor(weight))
    torch.testing.assert_close(model.bias, torch.tensor([0.14749974012374878, 0.4743681848049164]))


@pytest.mark.parametrize("other", [{"tied": False}, {"width": 16}], ids=["another tensor", "another shape"])
def test_a_checkpoint_of_another_model_is_refused_before_anything_changes(other):
    packed = _model(**other)
    payload = pack(packed, OPTIMIZERS["adamw"](packed.parameters()), PROGRESS)
    model = tiny_model(tied=True)
    before = state_of(model)
    with pytest.raises(DamagedCheckpointError, match="of another model"):
        unpack(payload, model, OPTIMIZERS["adamw"](model.parameters()))
    assert same_state(state_of(model), before)


def _model(*, tied=True, width=None):
    model = tiny_model(tied=tied)
    return model if width is None else torch.nn.Linear(width, width)
