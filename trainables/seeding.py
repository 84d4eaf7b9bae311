"""Named seed streams: every random draw of a sweep has a name, and no draw depends on another's."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(root: int, *names: str | int) -> int:
    """Derive the 63-bit seed of the stream ``names`` under ``root``: SHA-256 of both, so streams never overlap."""
    text = "\x1f".join([str(root), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(root: int, *names: str | int) -> np.random.Generator:
    """Open the NumPy generator of a named stream."""
    return np.random.default_rng(derive_seed(root, *names))


@contextmanager
def torch_stream(root: int, *names: str | int) -> Iterator[None]:
    """Run a block under a named torch stream (weight initialisation, dropout); the ambient state is put back."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive_seed(root, *names))
        yield
