"""The only module that runs a model for its predictions, and that shifts, masks and reduces token log-probabilities.

Shape legend: B batch, T positions of predictions, V vocabulary, N examples of a set or of a step, M chosen positions.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from trainables.distributed import unwrap_model
from trainables.encoding import IGNORE, Batch, EncodedSet
from trainables.errors import UnlearningError
from trainables.metrics.reductions import Reduction


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """A model's predictions for a batch, aligned: the logits at position t are for the label at position t.

    For a causal model labels are shifted by one, and the last position has none. For an encoder-decoder nothing is
    shifted: positions are those of the target.
    """

    logits_BTV: torch.Tensor
    """With gradient, in the model's precision."""
    labels_BT: torch.Tensor
    """Token ids; ``IGNORE`` where no target is predicted."""
    batch: Batch
    """The batch that they are of."""
    shift: Literal[0, 1]
    """By how many tokens a label comes after its position."""

    @property
    def is_target_BT(self) -> torch.Tensor:
        """True where a target token is predicted."""
        return self.labels_BT != IGNORE

    @property
    def is_token_BT(self) -> torch.Tensor:
        """True at every token of an example, prompt included but not padding; in an encoder-decoder, at its targets."""
        if not self.shift:
            return self.is_target_BT
        return self.batch["attention_mask"].bool() & self.is_target_BT.any(dim=-1, keepdim=True)

    @property
    def has_label_BT(self) -> torch.Tensor:
        """True where there is a label at all, target or not, padding or not."""
        positions_T = torch.arange(self.labels_BT.shape[1], device=self.labels_BT.device)
        return (positions_T < len(positions_T) - self.shift).expand_as(self.labels_BT)

    @property
    def num_unpredicted_B(self) -> torch.Tensor:
        """Targets of each example that no token precedes, so that no position predicts them: 0 or 1."""
        return (self.batch["labels"][:, : self.shift] != IGNORE).sum(dim=-1)


def predict(model: Any, batch: Batch) -> Predictions:
    """Run a causal or encoder-decoder model, as its configuration says, on a batch and return its predictions.

    Raises:
        UnlearningError: the configuration of an encoder-decoder does not name the token that its decoder starts with.
    """
    config = unwrap_model(model).config
    inputs, labels_BT = {name: batch[name] for name in ("input_ids", "attention_mask")}, batch["labels"]
    if config.is_encoder_decoder:
        decoder_BT = _decoder_inputs(labels_BT, config)
        logits_BTV = model(**inputs, decoder_input_ids=decoder_BT, use_cache=False).logits
        return Predictions(logits_BTV=logits_BTV, labels_BT=labels_BT, batch=batch, shift=0)
    next_BT = F.pad(labels_BT[:, 1:], (0, 1), value=IGNORE)
    return Predictions(logits_BTV=model(**inputs).logits, labels_BT=next_BT, batch=batch, shift=1)


def _decoder_inputs(labels_BT: torch.Tensor, config: Any) -> torch.Tensor:
    """Return the target shifted right, as the decoder is trained to read it: start token, then target and padding.

    What comes after the target changes no prediction of it, since a decoder looks back only.
    """
    if config.decoder_start_token_id is None:
        raise UnlearningError(
            f"the model ({config.model_type}) has no decoder_start_token_id in its configuration, so its decoder "
            f"cannot be started; give it one there, often that of the padding token"
        )
    padding = config.pad_token_id if config.pad_token_id is not None else 0
    shifted_BT = F.pad(labels_BT[:, :-1], (1, 0), value=config.decoder_start_token_id)
    return shifted_BT.masked_fill(shifted_BT == IGNORE, padding)


@dataclass(frozen=True)
class TokenScores:
    """Scores of a batch by position, aligned as ``Predictions`` are."""

    logp_BT: torch.Tensor
    """log p(x_t | x_<t) in nats, float32; exactly 0 where no target is predicted."""
    is_target_BT: torch.Tensor
    """True where a target token is scored."""

    @property
    def logp_B(self) -> torch.Tensor:
        """log p(x) of each example in nats: the sum over its target tokens."""
        return self.logp_BT.sum(dim=-1)

    @property
    def num_targets_B(self) -> torch.Tensor:
        """Number of target tokens of each example."""
        return self.is_target_BT.sum(dim=-1)

    def nll_per_token(self) -> torch.Tensor:
        """Return the token-weighted mean NLL, a scalar in nats per token."""
        return -self.logp_BT.sum() / self.is_target_BT.sum()


def token_scores(predictions: Predictions) -> TokenScores:
    """Return the scores of the targets, in float32 whatever the model's precision."""
    labels_BT = predictions.labels_BT
    # flat and unsliced: cross_entropy over a transposed or sliced tensor is several times slower on CPU
    flat_nll = F.cross_entropy(
        predictions.logits_BTV.flatten(0, 1).float(), labels_BT.flatten(), ignore_index=IGNORE, reduction="none"
    )
    return TokenScores(-flat_nll.view_as(labels_BT), predictions.is_target_BT)


def score_batch(model: Any, batch: Batch) -> TokenScores:
    """Run the model on a batch and score its targets."""
    return token_scores(predict(model, batch))


def score_drawn(model: Any, batch: Batch, uniform_BT: torch.Tensor) -> TokenScores:
    """Run a model on a batch and score, in place of each target, a token drawn from the model's distribution there.

    Args:
        model: the model.
        batch: the batch.
        uniform_BT: numbers in [0, 1) that decide the draws, by the inverse of the cumulative distribution.
    """
    predictions = predict(model, batch)
    logits_BTV, at_BT = predictions.logits_BTV, predictions.is_target_BT
    with torch.no_grad():
        cumulative_MV = logits_BTV[at_BT].float().softmax(dim=-1).cumsum(dim=-1)
        share_M1 = uniform_BT[at_BT].unsqueeze(-1) * cumulative_MV[:, -1:]
        drawn_M = torch.searchsorted(cumulative_MV, share_M1, right=True).squeeze(-1)
    drawn_M = drawn_M.clamp(max=logits_BTV.shape[-1] - 1)  # rounding, or logits that are NaN
    return token_scores(replace(predictions, labels_BT=predictions.labels_BT.masked_scatter(at_BT, drawn_M)))


def greedy_misses(predictions: Predictions) -> torch.Tensor:
    """Return where a target is not the model's most likely token, [B, T]."""
    return (predictions.logits_BTV.argmax(dim=-1) != predictions.labels_BT) & predictions.is_target_BT


def logp_moments(predictions: Predictions) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean and the variance of log p over the vocabulary, under p, at each target: [M] each, float32."""
    logp_MV = predictions.logits_BTV[predictions.is_target_BT].float().log_softmax(dim=-1)
    p_MV = logp_MV.exp()
    mean_M = (p_MV * logp_MV).sum(dim=-1)
    return mean_M, (p_MV * (logp_MV - mean_M.unsqueeze(-1)).square()).sum(dim=-1)


def kl_divergence(reference: Predictions, current: Predictions, at_BT: torch.Tensor) -> torch.Tensor:
    """Return KL(reference || current) in nats, [B, T], float32, at the positions ``at_BT``; exactly 0 elsewhere."""
    reference_MV, current_MV = (p.logits_BTV[at_BT].float().log_softmax(dim=-1) for p in (reference, current))
    kl_M = F.kl_div(current_MV, reference_MV, reduction="none", log_target=True).sum(dim=-1)
    return kl_M.new_zeros(at_BT.shape).masked_scatter(at_BT, kl_M)


def soft_nll(current: Predictions, teacher: Predictions, change: float, at_BT: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy against a teacher that is led away from the labels, in nats, [B, T]; 0 off ``at_BT``.

    ``change`` is added to the teacher's logit of each label (-inf: the label has no probability), and the softmax of
    these logits is the target, without gradient. Where there is no target, the label is ``IGNORE``, which counts as an
    index from the end of the vocabulary.
    """
    current_MV, teacher_MV = (p.logits_BTV[at_BT].float() for p in (current, teacher))
    labels_M1 = current.labels_BT[at_BT].remainder(current_MV.shape[-1]).unsqueeze(-1)
    led_MV = teacher_MV.detach().scatter_add(-1, labels_M1, torch.full_like(labels_M1, change, dtype=torch.float))
    nll_M = F.cross_entropy(current_MV, led_MV.softmax(dim=-1), reduction="none")
    return nll_M.new_zeros(at_BT.shape).masked_scatter(at_BT, nll_M)


@dataclass(frozen=True, kw_only=True)
class StepCounts:
    """How many positions of each example of a step count, so that the losses of its micro-batches add up."""

    targets_N: npt.NDArray[np.int64]
    """Target tokens that are predicted."""
    tokens_N: npt.NDArray[np.int64]
    """Positions where ``Predictions.is_token_BT`` is true."""

    @staticmethod
    def of(encoded: EncodedSet) -> "StepCounts":
        """Count the positions of a set that is all of the step."""
        targets_N = encoded.num_targets_N
        return StepCounts(
            targets_N=targets_N, tokens_N=targets_N if encoded.encoder_decoder else np.diff(encoded.offsets)
        )


def step_mean(
    values_BT: torch.Tensor, at_BT: torch.Tensor, reduction: Reduction, counts_N: npt.NDArray[np.int64] | None
) -> torch.Tensor:
    """Return a batch's share of the mean over its step, a scalar; the shares of all micro-batches add up to that mean.

    Examples without a position that counts are left out of every mean.

    Args:
        values_BT: values, 0 at positions that do not count.
        at_BT: the positions that count.
        reduction: how positions weigh.
        counts_N: the number of positions that count in each example of the step; None: the batch is all of it.
    """
    own_B = at_BT.sum(dim=-1)
    counts_N = own_B.cpu().numpy() if counts_N is None else counts_N
    if reduction == "token":
        return values_BT.sum() / max(1, int(counts_N.sum()))
    return (values_BT.sum(dim=-1) / own_B.clamp(min=1)).sum() / max(1, int((counts_N > 0).sum()))


def example_mean(values_B: torch.Tensor, at_B: torch.Tensor, counts_N: npt.NDArray[np.int64] | None) -> torch.Tensor:
    """Return a batch's share of the mean over its step's examples at ``at_B``, a scalar, as ``step_mean`` does."""
    num_examples = int(at_B.sum()) if counts_N is None else int((counts_N > 0).sum())
    return torch.where(at_B, values_B, 0).sum() / max(1, num_examples)
