"""Whether two models are one: the same tensors under the same names, shared alike, and the same numbers out of them."""

from typing import Any

import torch

from trainables.errors import UnlearningError
from trainables.models.tied_weights import shared_names

_PROBE_TOKENS = 8


def differences(model: Any, other: Any) -> list[str]:
    """List what tells the state of one model from another's; nothing is computed with them.

    Args:
        model: what it should be.
        other: what it is.
    """
    shared, others = shared_names(model), shared_names(other)
    found = [
        f"parameter '{name}' {_told(shared.get(name), name)}, and now {_told(others.get(name), name)}"
        for name in sorted({name for name in shared | others if shared.get(name) != others.get(name)})
    ]
    for kind in ("parameter", "buffer"):
        mine, its = _named(model, kind), _named(other, kind)
        if kind == "buffer":
            found += [f"buffer '{name}' is in one alone" for name in sorted(mine.keys() ^ its.keys())]
        for name in sorted(mine.keys() & its.keys()):
            found += _unlike(f"{kind} '{name}'", mine[name], its[name])
    return found


def _told(first: str | None, name: str) -> str:
    if first is None:
        return "is not there"
    return "has a tensor of its own" if first == name else f"is tied to '{first}'"


def _named(model: Any, kind: str) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters() if kind == "parameter" else model.named_buffers())


def _unlike(what: str, mine: torch.Tensor, its: torch.Tensor) -> list[str]:
    if mine.shape != its.shape:
        return [f"{what} had the shape {tuple(mine.shape)}, and now has {tuple(its.shape)}"]
    if mine.dtype != its.dtype:
        return [f"{what} was {mine.dtype}, and now is {its.dtype}"]
    return [] if equal(mine, its) else [f"{what} has other values"]


def equal(tensor: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether two tensors of one dtype have the same values; NaN is equal to NaN."""
    if torch.equal(tensor, other):
        return True
    return tensor.is_floating_point() and torch.allclose(tensor, other, rtol=0, atol=0, equal_nan=True)


def probe_logits(model: Any) -> torch.Tensor:
    """Run a model on a few tokens, without dropout; it is left in the mode that it was in.

    Raises:
        UnlearningError: it does not run.
    """
    ids = torch.arange(_PROBE_TOKENS, device=model.device).unsqueeze(0) % model.get_input_embeddings().weight.shape[0]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    was_training = model.training
    try:
        with torch.no_grad():
            logits: torch.Tensor = model.eval()(**inputs).logits
    except Exception as error:  # whatever running it raises, the model given is its cause
        raise UnlearningError(
            f"model: {type(model).__name__} does not run on {_PROBE_TOKENS} tokens "
            f"({type(error).__name__}: {error}); it must take token ids alone and give logits"
        ) from error
    finally:
        model.train(was_training)
    return logits


def require_same(model: Any, differing: list[str], what: str) -> None:
    """Refuse a model that does not come out as it went in.

    Raises:
        UnlearningError: ``differing`` is not empty.
    """
    if differing:
        more = f"\n  and {len(differing) - 5} more" if len(differing) > 5 else ""
        lines = "".join(f"\n  {line}" for line in differing[:5])
        raise UnlearningError(
            f"model: {type(model).__name__} is not the same after {what}, so what is measured would not be what was "
            f"loaded:{lines}{more}\nload it with plain Transformers, repair that, write it anew with save_pretrained, "
            f"and give that folder as model.pretrained; or give another model"
        )
