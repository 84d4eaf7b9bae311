"""The only place that shifts, masks and reduces token log-probabilities.

Shape legend: B batch, T tokens, V vocabulary, N examples of a set.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from trainables.batching import IGNORE, Batch, EncodedSet, batches_by_length, collate
from trainables.team import ALONE, Team


@dataclass(frozen=True)
class TokenScores:
    """Per-position scores of a batch; position t scores token t + 1."""

    logp_BT: torch.Tensor
    """log p(x_t | x_<t) in nats, float32; exactly 0 off the target."""
    is_target_BT: torch.Tensor
    """True where a target token is scored."""

    @property
    def logp_B(self) -> torch.Tensor:
        """log p(x) of each example: the sum over its target tokens, in nats."""
        return self.logp_BT.sum(dim=-1)

    @property
    def num_targets_B(self) -> torch.Tensor:
        """Target tokens of each example."""
        return self.is_target_BT.sum(dim=-1)

    def nll_per_token(self, total_targets: int | None = None) -> torch.Tensor:
        """Token-weighted mean NLL, a scalar in nats per token.

        ``total_targets`` replaces the batch's own number of targets, so that micro-batches of one step add up.
        """
        return -self.logp_BT.sum() / (total_targets if total_targets is not None else self.is_target_BT.sum())


def token_scores(logits_BTV: torch.Tensor, labels_BT: torch.Tensor) -> TokenScores:
    """Score the targets of a causal model's logits, in float32 whatever the model's precision.

    ``labels_BT`` is unshifted (``IGNORE`` off the target), as Transformers has it.
    """
    return _scores_of(logits_BTV, _next_labels(labels_BT))


def _scores_of(logits_BTV: torch.Tensor, next_BT: torch.Tensor) -> TokenScores:
    # flat and unsliced: cross_entropy over a transposed or sliced tensor is several times slower on CPU
    flat_nll = F.cross_entropy(
        logits_BTV.flatten(0, 1).float(), next_BT.flatten(), ignore_index=IGNORE, reduction="none"
    )
    return TokenScores(-flat_nll.view_as(next_BT), next_BT != IGNORE)


def greedy_misses(logits_BTV: torch.Tensor, labels_BT: torch.Tensor) -> torch.Tensor:
    """Mark the targets that are not the model's most likely token, [B, T]; position t is of token t + 1."""
    next_BT = _next_labels(labels_BT)
    return (logits_BTV.argmax(dim=-1) != next_BT) & (next_BT != IGNORE)


def _next_labels(labels_BT: torch.Tensor) -> torch.Tensor:
    """Shift: position t of the result is the label that position t of the logits predicts."""
    return F.pad(labels_BT[:, 1:], (0, 1), value=IGNORE)


def score_batch(model: Any, batch: Batch) -> TokenScores:
    """Run the model on a batch and score its targets."""
    return token_scores(_logits(model, batch), batch["labels"])


def score_drawn(model: Any, batch: Batch, uniform_BT: torch.Tensor) -> TokenScores:
    """Run the model on a batch and score, in place of each target, a token drawn from its own distribution there.

    ``uniform_BT`` decides what is drawn: the first token up to which that share of the probability lies.
    """
    logits_BTV = _logits(model, batch)
    next_BT = _next_labels(batch["labels"])
    is_target_BT = next_BT != IGNORE
    with torch.no_grad():
        cumulative_NV = logits_BTV[is_target_BT].float().softmax(dim=-1).cumsum(dim=-1)
        share_N1 = uniform_BT[is_target_BT].unsqueeze(-1) * cumulative_NV[:, -1:]
        drawn_N = torch.searchsorted(cumulative_NV, share_N1, right=True).squeeze(-1)
    drawn_N = drawn_N.clamp(max=logits_BTV.shape[-1] - 1)  # rounding, or logits that are no numbers
    return _scores_of(logits_BTV, next_BT.masked_scatter(is_target_BT, drawn_N))


def _logits(model: Any, batch: Batch) -> torch.Tensor:
    logits_BTV: torch.Tensor = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return logits_BTV


@dataclass(frozen=True, kw_only=True)
class SetScores:
    """Scores of a whole set under one model, in the set's order."""

    logp_N: npt.NDArray[np.float64]
    """log p(x) in nats."""
    num_targets_N: npt.NDArray[np.int64]
    extracted_N: npt.NDArray[np.bool_]
    """True where greedy decoding from the prefix gives the rest of the target exactly."""

    @property
    def nll_per_token_N(self) -> npt.NDArray[np.float64]:
        """Each example's NLL in nats per target token."""
        return -self.logp_N / self.num_targets_N

    @property
    def nll_per_token(self) -> float:
        """Token-weighted NLL of the set, in nats per token."""
        return float(-self.logp_N.sum() / self.num_targets_N.sum())


def score_set(model: Any, encoded: EncodedSet, *, batch_size: int, team: Team = ALONE) -> SetScores:
    """Score every example of a set; sums over tokens are float64.

    The workers of a ``team`` score ``batch_size`` examples each at a time, and all get all scores. They make equally
    many forward passes, as a model of which each has a shard needs.

    Greedy extraction needs no decoding: greedy decoding reproduces a target exactly if and only if, with the
    target itself as context, each of its tokens is the most likely one (by induction over positions).
    """
    device = next(model.parameters()).device
    logp_N, extracted_N = scores_2N = np.zeros((2, len(encoded)))
    with torch.no_grad():  # inference mode would leave a sharded model with layers that cannot be trained
        for batch_indices in batches_by_length(encoded, batch_size * team.size):
            indices = team.share(batch_indices)
            batch = collate(encoded, indices, device=device)
            logits_BTV = _logits(model, batch)
            logp_B = token_scores(logits_BTV, batch["labels"]).logp_BT.double().sum(dim=-1).cpu().numpy()
            misses_BT = greedy_misses(logits_BTV, batch["labels"]).cpu().numpy()[: len(indices)]
            tokens_T = np.arange(1, misses_BT.shape[1] + 1)
            asked_BT = tokens_T[np.newaxis] >= encoded.prefix_ends_N[indices][:, np.newaxis]
            logp_N[indices] = logp_B[: len(indices)]  # an empty share is one row, of no example
            extracted_N[indices] = ~(misses_BT & asked_BT).any(axis=-1)
    logp_N, extracted_N = team.total(torch.from_numpy(scores_2N)).numpy()  # each example has one process's score
    return SetScores(logp_N=logp_N, num_targets_N=encoded.num_targets_N, extracted_N=extracted_N.astype(bool))
