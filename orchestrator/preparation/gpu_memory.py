"""What a user is told when a GPU's memory is too small for a model."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainables.errors import UnlearningError


@contextmanager
def explained_out_of_memory(what: str, lower: str) -> Iterator[None]:
    """Raise PyTorch's error about a full GPU as one that names the settings to lower.

    Args:
        what: what is done in the block, such as ``measuring what models know``.
        lower: the settings to lower.

    Raises:
        UnlearningError: the GPU's memory is too small.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UnlearningError(f"{what} runs out of the GPU's memory ({error}); lower {lower}") from None
