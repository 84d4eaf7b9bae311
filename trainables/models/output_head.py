"""A model in two parts: what computes hidden states, and the head that makes logits of them, which may come later.

Logits are the largest tensors of a language model: those of 32 x 512 positions and 128,000 words take 8 GB in fp32.
With the head apart, they are made for those positions only that are scored, some at a time. Shape legend: B batch, T
positions, D width of hidden states, V vocabulary; ``...`` stands for any leading dimensions.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.distributed.tensor import DTensor

from trainables.distributed import unwrap_model

Head = Callable[[torch.Tensor], torch.Tensor]
"""Returns logits [..., V] of hidden states [..., D], with gradient for the states and for its own weights."""

_TRIED_POSITIONS = 8
"""Positions on which a head is compared with its model, once a model."""
_CLOSE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}
"""Difference of logits up to which both are the same but for rounding, as a share of the largest logit."""
_known: WeakKeyDictionary[torch.nn.Module, int | None] = WeakKeyDictionary()
"""Vocabulary sizes of the models whose heads were tried; None: the model cannot be divided."""


@dataclass(frozen=True, kw_only=True)
class SplitOutput:
    """What a model computes up to its head, and the head."""

    hidden_BTD: torch.Tensor
    """With gradient, if the model was run with it."""
    head: Head
    vocabulary: int
    """Number of logits at a position."""


def split_output(model: Any, inputs: dict[str, Any]) -> SplitOutput | None:
    """Run a model up to its head. The head keeps the precision in which the model would run it.

    None: the model cannot be divided, and was not run. It has no output embeddings; it is cut into shards; or its own
    logits are others than this module makes, which is found out by comparing them.

    Args:
        model: a causal or encoder-decoder model of Transformers, maybe wrapped for several workers.
        inputs: its keyword arguments.
    """
    own = unwrap_model(model)
    if own not in _known:
        _known[own] = _vocabulary(own, inputs)
    vocabulary = _known[own]
    if vocabulary is None:
        return None
    with _captured(own.get_output_embeddings(), skips=True) as states:
        model(**inputs)
    ((hidden_BTD, precision),) = states
    return SplitOutput(hidden_BTD=hidden_BTD, head=_head_of(own, precision), vocabulary=vocabulary)


def _vocabulary(model: Any, inputs: dict[str, Any]) -> int | None:
    """Compare a model's head with its own logits on a few positions of inputs; None: they differ."""
    module = getattr(model, "get_output_embeddings", lambda: None)()
    if module is None or any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return None
    few = {name: value[:1, :_TRIED_POSITIONS] if torch.is_tensor(value) else value for name, value in inputs.items()}
    was_training = model.training
    with torch.no_grad():
        with _captured(module, skips=False) as states:
            logits_BTV = model.eval()(**few).logits
        found = [_head_of(model, precision)(hidden_BTD) for hidden_BTD, precision in states]
        model.train(was_training)
    if len(found) != 1:
        return None  # the embeddings are used otherwise than by running them
    (found_BTV,) = found
    if found_BTV.shape != logits_BTV.shape:
        return None
    difference = (found_BTV.double() - logits_BTV.double()).abs().max()
    limit = _CLOSE[found_BTV.dtype] * logits_BTV.double().abs().max()
    return logits_BTV.shape[-1] if difference <= limit else None


Precision = tuple[bool, torch.dtype]
"""Whether autocast was on when a head was run, and to which type."""


@contextmanager
def _captured(module: torch.nn.Module, *, skips: bool) -> Iterator[list[tuple[torch.Tensor, Precision]]]:
    """Collect what a module is given while the block runs.

    Args:
        module: the output embeddings.
        skips: whether to leave out their work: their result is one number a position, then, and no logits.
    """
    states: list[tuple[torch.Tensor, Precision]] = []
    before = vars(module).get("forward")
    run = module.forward

    def forward(hidden_BTD: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        kind = hidden_BTD.device.type
        states.append((hidden_BTD, (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))))
        if not skips:
            logits: torch.Tensor = run(hidden_BTD, *args, **kwargs)
            return logits
        return hidden_BTD.new_zeros((*hidden_BTD.shape[:-1], 1))

    module.forward = forward
    try:
        yield states
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before


def _head_of(model: Any, precision: Precision) -> Head:
    """Return the head of a model: its output embeddings, and what its family then does to logits."""
    module, config = model.get_output_embeddings(), model.config.get_text_config(decoder=True)
    scale = float(getattr(config, "logit_scale", None) or 1.0)  # Cohere
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)  # Granite
    scale *= float(getattr(config, "lm_head_multiplier", None) or 1.0)  # Falcon-H1
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma
    is_autocast, dtype = precision

    def head(hidden: torch.Tensor) -> torch.Tensor:
        with torch.autocast(hidden.device.type, dtype=dtype, enabled=is_autocast):
            logits: torch.Tensor = module(hidden)
            logits = logits if scale == 1.0 else logits * scale
            return logits if cap is None else torch.tanh(logits / cap) * cap

    return head
