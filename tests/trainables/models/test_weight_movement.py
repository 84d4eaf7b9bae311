"""A trial whose updates are rounded away warns, and says how to avoid it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support import MemorySink, run_to_end, tiny_model, tiny_trial, tiny_workload
from trainables.config import LoraConfig
from trainables.distributed import ALONE
from trainables.models import snapshot
from trainables.models.weight_movement import moved_share
from trainables.records import Status
from trainables.trial import Engine


def trial_of(base, **changes):
    workload = replace(tiny_workload(), base=base)
    return run_to_end(Engine(workload), tiny_trial(**changes), MemorySink())


def bf16():
    return snapshot(tiny_model().to(torch.bfloat16))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_bf16_weights_that_do_not_move_are_told_of(optimizer):
    run = trial_of(bf16(), learning_rate=1e-9, steps=(1, 3), optimizer=optimizer)
    assert run.outcome.status is Status.COMPLETED
    for text in (run.outcome.message, run.warning):
        assert "none of the weights moved: bf16 rounds smaller updates away" in text
        assert "set model.dtype: fp32" in text and "larger learning_rate (now 1e-09)" in text
    assert run.outcome.message in run.warning and tiny_trial().trial_id in run.warning


def test_a_few_that_move_are_told_of():
    run = trial_of(bf16(), learning_rate=3e-8, steps=(1, 3), optimizer="adamw")
    assert "only 0.0" in run.outcome.message and "of all weights moved" in run.outcome.message


@pytest.mark.parametrize(
    ("base", "rate"),
    [(bf16, 0.01), (lambda: snapshot(tiny_model()), 1e-5)],
    ids=["bf16, a rate that tells", "fp32, a small rate"],
)
def test_weights_that_move_are_not_spoken_of(base, rate):
    run = trial_of(base(), learning_rate=rate, steps=(1, 3), optimizer="adamw")
    assert run.outcome.message is None and run.warning is None


def test_fp32_weights_that_do_not_move_are_told_of_without_bad_advice():
    run = trial_of(snapshot(tiny_model()), learning_rate=1e-30, steps=(1, 3), optimizer="sgd")
    assert "none of the weights moved" in run.outcome.message and "bf16" not in run.outcome.message


def test_fp32_adapters_beside_bf16_weights_are_measured_alone():
    base = snapshot(tiny_model().to(torch.bfloat16), lora=LoraConfig(rank=2))
    assert trial_of(base, learning_rate=1e-3, steps=(1, 3), optimizer="adamw").outcome.message is None


def test_the_share_is_of_all_numbers():
    model = tiny_model()
    base = snapshot(model)
    assert moved_share(model, base, ALONE) == 0
    with torch.no_grad():
        model.model.norm.weight[0] += 1
    numbers = sum(int((torch.tensor(array) != 0).sum()) for array in base.arrays.values())
    with torch.no_grad():
        model.model.embed_tokens.weight[base.arrays["model.embed_tokens.weight"] == 0] = 1  # any update moves a zero
    assert np.isclose(moved_share(model, base, ALONE), 1 / numbers)


def test_at_step_0_nothing_is_said():
    assert trial_of(bf16(), learning_rate=1e-9, steps=(0,)).outcome.message is None
