"""Scores of whole sets under one model: likelihood, greedy choices, and on demand moments and gradient norms.

Shape legend: N examples of a set, M target tokens of all of them, P parameter tensors, B batch, T positions.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from trainables.distributed import ALONE, WorkerGroup, unwrap_model
from trainables.encoding import EncodedSet, batches_by_length, collate
from trainables.metrics.likelihood import predict, score_batch, target_moments
from trainables.metrics.scores import Array, SetScores
from trainables.models import is_of_adapters

MOMENTS = ("mean_logp_M", "variance_logp_M")
"""Fields of ``SetScores`` that cost a pass over the whole vocabulary at every target token."""


def score_set(
    model: Any,
    encoded: EncodedSet,
    *,
    batch_size: int,
    group: WorkerGroup = ALONE,
    reads: Collection[str] = (),
) -> SetScores:
    """Return the scores of every example of a set; sums over tokens are float64.

    The workers of a group score ``batch_size`` examples each at a time, and all get all scores. They make equally many
    forward passes, as a sharded model needs.

    Greedy extraction needs no decoding: greedy decoding reproduces a target exactly if and only if, with the
    target itself as context, each of its tokens is the most likely one (by induction over positions).

    Args:
        model: the model, on its device.
        encoded: the set.
        batch_size: examples of one worker in a forward pass.
        group: the workers that share the work.
        reads: fields of ``SetScores`` that are wanted beyond those of likelihood and greedy choices: ``MOMENTS``.
    """
    device = next(model.parameters()).device
    moments = _are_moments(reads)
    ends_N = np.cumsum(encoded.num_targets_N)
    of_examples = logp_N, extracted_N = np.zeros((2, len(encoded)))
    of_tokens = np.zeros((4, int(ends_N[-1])))
    with torch.no_grad():  # inference mode would leave layers of a sharded model that cannot be trained
        for batch_indices in batches_by_length(encoded, batch_size * group.size):
            indices = group.shard(batch_indices)
            predictions = predict(model, collate(encoded, indices, device=device))
            at_BT = predictions.is_target_BT.cpu().numpy()
            found_CM = target_moments(predictions, moments=moments).double().cpu().numpy().T
            logp_BT, misses_BT = np.zeros(at_BT.shape), np.zeros(at_BT.shape, dtype=bool)
            logp_BT[at_BT], misses_BT[at_BT] = found_CM[0], found_CM[1] == 0
            logp_N[indices] = logp_BT.sum(axis=-1)[: len(indices)]  # an empty shard is a row of no example
            extracted_N[indices] = _extracted(encoded, indices, misses_BT[: len(indices)])
            if not len(indices):
                continue
            first_B = predictions.num_unpredicted_B.cpu().numpy()
            places_M = np.concatenate(
                [
                    np.arange(ends_N[i] - encoded.num_targets_N[i] + skipped, ends_N[i])
                    for i, skipped in zip(indices, first_B, strict=True)
                ]
            )
            for column_M, own_M in zip(of_tokens, found_CM, strict=False):  # without moments there are two
                column_M[places_M] = own_M
    # each example's score is one process's, and 0 elsewhere
    logp_N, extracted_N = group.all_reduce_sum(torch.from_numpy(of_examples)).numpy()
    logp_M, is_top_M, mean_M, variance_M = group.all_reduce_sum(torch.from_numpy(of_tokens)).numpy()
    return SetScores(
        logp_N=logp_N,
        num_targets_N=encoded.num_targets_N,
        extracted_N=extracted_N.astype(bool),
        logp_M=logp_M,
        is_top_M=is_top_M.astype(bool),
        mean_logp_M=mean_M if moments else None,
        variance_logp_M=variance_M if moments else None,
    )


def _are_moments(reads: Collection[str]) -> bool:
    """Return whether moments are among the fields of scores that are wanted."""
    return not set(MOMENTS).isdisjoint(reads)


class ScoredOnce:
    """Scores sets under one model as ``score_set`` does, and remembers the scores.

    Forget sets share sets; and what others are compared with is scored as a model's own too.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, bool], tuple[EncodedSet, SetScores]] = {}

    def __call__(self, model: Any, encoded: EncodedSet, *, reads: Collection[str] = (), **options: Any) -> SetScores:
        """Return the scores of a set; the model and the other options of ``score_set`` are the same at every call."""
        key = id(encoded), _are_moments(reads)
        if key not in self._known:
            scores = score_set(model, encoded, reads=reads, **options)
            self._known[key] = encoded, scores  # kept, so that its id stays its own
        return self._known[key][1]


def _extracted(
    encoded: EncodedSet, indices: npt.NDArray[np.int64], misses_BT: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Return whether greedy decoding yields each example's target from its prefix on, [B]."""
    firsts_B = encoded.target_starts_N[indices] if encoded.encoder_decoder else np.ones(len(indices), dtype=int)
    tokens_BT = firsts_B[:, np.newaxis] + np.arange(misses_BT.shape[1])  # the token of its example at each position
    asked_BT = tokens_BT >= encoded.prefix_ends_N[indices][:, np.newaxis]
    return np.asarray(~(misses_BT & asked_BT).any(axis=-1))


def gradient_norms(
    model: Any,
    encoded: EncodedSet,
    *,
    p: float,
    without_last: bool = False,
    group: WorkerGroup = ALONE,
) -> Array | None:
    """Return the norm of the gradient of each example's mean NLL for each parameter tensor of the base model, [N, P].

    These are all floating-point parameters but adapters, whether they are trained or not, so that norms of one model
    before and after, with adapters and without, are of the same tensors. The model is run without dropout, and no
    gradient stays on it. None: some weights are quantized tensors, which have no gradient.

    Args:
        model: the model, in evaluation mode; not cut into shards.
        encoded: the set.
        p: the norm: 1, 2 or infinity.
        without_last: whether the last target of each example is left out, as open-unlearning does. An example of one
            target then has 0.
        group: the workers that share the work, each by itself; all get all norms.
    """
    own = unwrap_model(model)
    tensors = [
        parameter
        for name, parameter in own.named_parameters()
        if parameter.is_floating_point() and not is_of_adapters(name)
    ]
    if any(type(tensor) is not torch.nn.Parameter for tensor in tensors):
        return None
    norms_NP = np.zeros((len(encoded), len(tensors)))
    with _with_gradients(tensors):
        for i in group.shard(np.arange(len(encoded))):
            logp_T = _target_logp(own, encoded, int(i))
            logp_T = logp_T[:-1] if without_last else logp_T
            if len(logp_T):
                gradients = torch.autograd.grad(-logp_T.mean(), tensors, allow_unused=True)
                norms_NP[i] = [0.0 if own is None else float(own.float().norm(p)) for own in gradients]
    return np.asarray(group.all_reduce_sum(torch.from_numpy(norms_NP)).numpy())


@contextmanager
def _with_gradients(tensors: Sequence[torch.Tensor]) -> Iterator[None]:
    """Let frozen parameters have gradients while a block runs."""
    frozen = [tensor for tensor in tensors if not tensor.requires_grad]
    try:
        for tensor in frozen:
            tensor.requires_grad_(True)
        yield
    finally:
        for tensor in frozen:
            tensor.requires_grad_(False)


def _target_logp(model: Any, encoded: EncodedSet, index: int) -> torch.Tensor:
    """Return log p of an example's target tokens, [T] nats, with gradient."""
    with torch.enable_grad():
        scores = score_batch(model, collate(encoded, [index], device=next(model.parameters()).device))
        return scores.logp_BT[scores.is_target_BT]
