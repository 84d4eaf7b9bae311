"""Whatever the optimizer: a trajectory is deterministic, its prefixes are the shorter trials, it can be cut off."""

import json
from typing import Any

import pytest
import safetensors.torch
import torch

from tests.support import MemorySink, deterministic, run_to_end, same_state, state_of, tiny_trial, tiny_workload
from trainables.optim import OPTIMIZERS
from trainables.trial import Engine

OFTEN = {"sophia": {"hessian_every": 3}, "soap": {"precondition_every": 2}}
"""So that what is done now and then is done within these few steps."""


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(tiny_workload(dropout=0.1))


def trial_of(name: str, **fields: Any) -> Any:
    rate = 0.1 if name == "sgd" else 0.003
    fields = {"batch_size": 5, "clip_norm": None, "learning_rate": rate, **fields}
    return tiny_trial(optimizer=name, optimizer_settings=OFTEN.get(name, {}), **fields)


def contents(payload: bytes) -> tuple[dict[str, bytes], dict[str, str]]:
    """Its tensors, and what else it says; the header's order is nobody's."""
    header = json.loads(payload[8 : 8 + int.from_bytes(payload[:8], "little")])
    metadata = {key: value for key, value in header["__metadata__"].items() if key != "sha256"}
    tensors = safetensors.torch.load(payload)
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, metadata


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_trajectory_is_deterministic_wherever_it_ends_and_whatever_ran_before(engine: Engine, name: str) -> None:
    runs = {}
    for steps in ((0, 2, 7), (7,), (2,)):
        earlier = engine.start(trial_of(name, seed=99))
        earlier.advance(4)
        for parameter in engine.model.parameters():
            parameter.grad = torch.full_like(parameter, 5.0)
        run = run_to_end(engine, trial_of(name, steps=steps), MemorySink())
        runs[steps] = {row["step"]: row for row in deterministic(run.evaluations)}
    fresh = run_to_end(Engine(engine.workload), trial_of(name, steps=(0, 2, 7)), MemorySink())
    assert {row["step"]: row for row in deterministic(fresh.evaluations)} == runs[0, 2, 7]
    assert runs[(7,)][7] == runs[0, 2, 7][7]
    assert runs[(2,)][2] == runs[0, 2, 7][2]
    start, _, end = (row["forget_nll"] for row in runs[0, 2, 7].values())
    assert end > start + 0.01, "it ascends"


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resuming_in_mid_trajectory_is_bit_identical(engine: Engine, name: str, step: int) -> None:
    trial = trial_of(name, micro_batch_size=2, weight_decay=0.1)
    ascent = engine.start(trial)
    ascent.advance(step)
    payload = ascent.pack(elapsed_s=0.0)
    ascent.advance(9)
    expected = state_of(engine.model)
    resumed = engine.start(trial)
    resumed.advance(2)  # an optimizer in use, at another step
    resumed.unpack(payload)
    assert contents(resumed.pack(elapsed_s=0.0)) == contents(payload)
    resumed.advance(9)
    assert same_state(state_of(engine.model), expected)
