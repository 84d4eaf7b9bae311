"""Mixed precision and accelerators, each in a process of its own (Accelerate's state is process-wide)."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from tests.limits import HANG_S


def run_tiny(precision: str, *, gpu: bool) -> dict[str, Any]:
    visible = os.environ if gpu else {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "tests.trainables.run_tiny", precision]
    done = subprocess.run(command, capture_output=True, text=True, env=visible, timeout=HANG_S)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def full_precision() -> dict[str, Any]:
    return run_tiny("fp32", gpu=False)


def test_bf16_is_near_fp32_and_not_the_same(full_precision: dict[str, Any]) -> None:
    mixed = run_tiny("bf16", gpu=False)
    assert [row["step"] for row in mixed["rows"]] == [row["step"] for row in full_precision["rows"]]
    for low, full in zip(mixed["rows"], full_precision["rows"], strict=True):
        assert low["heldout_nll"] == pytest.approx(full["heldout_nll"], rel=2e-2)
        assert low["heldout_nll"] != full["heldout_nll"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_gives_the_cpus_numbers_to_rounding(full_precision: dict[str, Any]) -> None:
    accelerated = run_tiny("fp32", gpu=True)
    assert accelerated["device"] == "cuda"
    for fast, slow in zip(accelerated["rows"], full_precision["rows"], strict=True):
        assert fast["heldout_nll"] == pytest.approx(slow["heldout_nll"], rel=1e-4)
        assert fast["gen_ex"] == pytest.approx(slow["gen_ex"], rel=1e-3, abs=1e-3)
