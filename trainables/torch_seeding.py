"""Named seed streams for PyTorch's random draws."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainables.seeding import derive_seed


@contextmanager
def seeded_torch(root: int, *names: str | int) -> Iterator[None]:
    """Seed PyTorch in a block (weight initialization, dropout) by a named stream, and restore its state afterwards."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive_seed(root, *names))
        yield
