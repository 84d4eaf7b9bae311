"""The named seed streams of PyTorch's own draws."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainables.seeding import derive_seed


@contextmanager
def seeded_torch(root: int, *names: str | int) -> Iterator[None]:
    """Run a block under a named torch stream (weight initialisation, dropout); the ambient state is put back."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive_seed(root, *names))
        yield
