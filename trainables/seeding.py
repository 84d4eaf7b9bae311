"""Named seed streams: every random draw of a sweep has a name, and no draw depends on another's.

PyTorch's own streams are in ``torch_seeding``, so that drawing data does not load it.
"""

import hashlib

import numpy as np


def derive_seed(root: int, *names: str | int) -> int:
    """Derive the 63-bit seed of the stream ``names`` under ``root``: SHA-256 of both, so streams never overlap."""
    text = "\x1f".join([str(root), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(root: int, *names: str | int) -> np.random.Generator:
    """Open the NumPy generator of a named stream."""
    return np.random.default_rng(derive_seed(root, *names))
