"""Comparing two models: names, shapes, values and ties of their tensors, and their logits."""

from typing import Any

import torch

from trainables.errors import UnlearningError
from trainables.models.tied_weights import shared_names

_PROBE_TOKENS = 8


def differences(model: Any, other: Any) -> list[str]:
    """Return the differences between the states of two models, as sentences. The models are not run.

    Args:
        model: what is expected.
        other: what is compared with it.
    """
    shared, others = shared_names(model), shared_names(other)
    found = [
        f"parameter '{name}' {_tie(shared.get(name), name)}, and now {_tie(others.get(name), name)}"
        for name in sorted({name for name in shared | others if shared.get(name) != others.get(name)})
    ]
    for kind in ("parameter", "buffer"):
        mine, its = _named(model, kind), _named(other, kind)
        if kind == "buffer":
            found += [f"buffer '{name}' is in one alone" for name in sorted(mine.keys() ^ its.keys())]
        for name in sorted(mine.keys() & its.keys()):
            found += _tensor_differences(f"{kind} '{name}'", mine[name], its[name])
    return found


def _tie(first: str | None, name: str) -> str:
    if first is None:
        return "is not there"
    return "has a tensor of its own" if first == name else f"is tied to '{first}'"


def _named(model: Any, kind: str) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters() if kind == "parameter" else model.named_buffers())


def _tensor_differences(what: str, mine: torch.Tensor, its: torch.Tensor) -> list[str]:
    if mine.shape != its.shape:
        return [f"{what} had the shape {tuple(mine.shape)}, and now has {tuple(its.shape)}"]
    if mine.dtype != its.dtype:
        return [f"{what} was {mine.dtype}, and now is {its.dtype}"]
    return [] if equal(mine, its) else [f"{what} has other values"]


def equal(tensor: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors of one dtype have the same values. NaN equals NaN."""
    if torch.equal(tensor, other):
        return True
    return tensor.is_floating_point() and torch.allclose(tensor, other, rtol=0, atol=0, equal_nan=True)


def probe_logits(model: Any) -> torch.Tensor:
    """Return a model's logits for a few tokens, without dropout. The model stays in the mode that it was in.

    Raises:
        UnlearningError: the model does not run.
    """
    ids = torch.arange(_PROBE_TOKENS, device=model.device).unsqueeze(0) % model.get_input_embeddings().weight.shape[0]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    was_training = model.training
    try:
        with torch.no_grad():
            logits: torch.Tensor = model.eval()(**inputs).logits
    except Exception as error:  # whatever running raises, the model is its cause
        raise UnlearningError(
            f"model: {type(model).__name__} does not run on {_PROBE_TOKENS} tokens "
            f"({type(error).__name__}: {error}); it must take token ids alone and return logits"
        ) from error
    finally:
        model.train(was_training)
    return logits


def require_same(model: Any, differing: list[str], what: str) -> None:
    """Require that a model is unchanged after ``what`` was done with it.

    Raises:
        UnlearningError: ``differing`` names differences.
    """
    if differing:
        more = f"\n  and {len(differing) - 5} more" if len(differing) > 5 else ""
        lines = "".join(f"\n  {line}" for line in differing[:5])
        raise UnlearningError(
            f"model: {type(model).__name__} is not the same after {what}, so what is measured would not be what was "
            f"loaded:{lines}{more}\nload it with plain Transformers, repair that, write it anew with save_pretrained, "
            f"and give that folder as model.pretrained; or give another model"
        )
