"""All tests of the science layer use one thread, since the number of threads changes rounding."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)
