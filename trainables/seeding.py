"""Named seed streams: every random draw of a sweep has a name, and no draw depends on another.

``torch_seeding`` does the same for PyTorch; it is apart so that drawing data does not load PyTorch.
"""

import hashlib

import numpy as np


def derive_seed(root: int, *names: str | int) -> int:
    """Return the 63-bit seed of the stream ``names`` under ``root``, from a SHA-256 hash of both."""
    text = "\x1f".join([str(root), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(root: int, *names: str | int) -> np.random.Generator:
    """Return the NumPy generator of a named stream."""
    return np.random.default_rng(derive_seed(root, *names))
