"""The only module that runs a model for its predictions, and that shifts, masks and reduces token log-probabilities.

Logits are made for the positions that are asked for, a chunk of them at a time, and with gradient made again for the
backward pass (Chen et al. 2016, arXiv 1604.06174), so that memory does not grow with vocabulary x positions.

Shape legend: B batch, T positions of predictions, D width of hidden states, V vocabulary, N examples of a set or of a
step, M chosen positions, C those of a chunk.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from trainables.distributed import unwrap_model
from trainables.encoding import IGNORE, Batch
from trainables.errors import UnlearningError
from trainables.models import FrozenBase, Head, split_output

CHUNK = 2**24
"""Logits that are made at a time: 64 MiB in fp32."""


def _as_given(logits: torch.Tensor) -> torch.Tensor:
    return logits


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """A model's predictions for a batch, aligned: those at position t are for the label at position t.

    For a causal model labels are shifted by one, and the last position has none. For an encoder-decoder nothing is
    shifted: positions are those of the target.
    """

    hidden_BTD: torch.Tensor
    """What ``head`` makes logits of: hidden states, or where the model cannot be divided the logits. With gradient, in
    the model's precision."""
    vocabulary: int
    """Number of logits at a position."""
    labels_BT: torch.Tensor
    """Token ids; ``IGNORE`` where no target is predicted."""
    batch: Batch
    """The batch that they are of."""
    shift: Literal[0, 1]
    """By how many tokens a label comes after its position."""
    head: Head = _as_given
    """The rest of the model."""

    @property
    def logits_BTV(self) -> torch.Tensor:
        """The logits of all positions at once, which may take much memory."""
        return self.head(self.hidden_BTD)

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
    inputs: dict[str, Any] = {name: batch[name] for name in ("input_ids", "attention_mask")}
    labels_BT = batch["labels"]
    shift: Literal[0, 1] = 0 if config.is_encoder_decoder else 1
    if config.is_encoder_decoder:
        inputs |= {"decoder_input_ids": _decoder_inputs(labels_BT, config), "use_cache": False}
    else:
        labels_BT = F.pad(labels_BT[:, 1:], (0, 1), value=IGNORE)
    split = model.split_output(inputs) if isinstance(model, FrozenBase) else split_output(model, inputs)
    if split is None:
        logits_BTV = model(**inputs).logits
        return Predictions(
            hidden_BTD=logits_BTV, vocabulary=logits_BTV.shape[-1], labels_BT=labels_BT, batch=batch, shift=shift
        )
    return Predictions(
        hidden_BTD=split.hidden_BTD,
        vocabulary=split.vocabulary,
        labels_BT=labels_BT,
        batch=batch,
        shift=shift,
        head=split.head,
    )


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


def at_positions(
    function: Callable[..., torch.Tensor],
    at_BT: torch.Tensor,
    predictions: Sequence[Predictions],
    *values_BT: torch.Tensor,
) -> torch.Tensor:
    """Return what a function makes of the logits at some positions, [M, ...], computed chunk by chunk.

    Args:
        function: of the logits [C, V] of each of the predictions, float32, and of each of the values [C]; returns one
            row for each position.
        at_BT: the positions.
        predictions: predictions of the same positions, by one or more models of one vocabulary.
        *values_BT: what else the function is given of each position.
    """
    hidden = [own.hidden_BTD[at_BT] for own in predictions]
    values = [own_BT[at_BT] for own_BT in values_BT]

    def of_chunk(*parts: torch.Tensor) -> torch.Tensor:
        logits = [own.head(part).float() for own, part in zip(predictions, parts[: len(hidden)], strict=True)]
        return function(*logits, *parts[len(hidden) :])

    size = max(1, CHUNK // predictions[0].vocabulary)
    if len(hidden[0]) <= size:
        return of_chunk(*hidden, *values)
    chunks = zip(*(torch.split(own, size) for own in (*hidden, *values)), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([of_chunk(*parts) for parts in chunks])
    return torch.cat([checkpoint(of_chunk, *parts, use_reentrant=False) for parts in chunks])


def _spread(values_M: torch.Tensor, at_BT: torch.Tensor) -> torch.Tensor:
    """Return values at their positions, [B, T]; exactly 0 elsewhere."""
    return values_M.new_zeros(at_BT.shape).masked_scatter(at_BT, values_M)


def token_scores(predictions: Predictions) -> TokenScores:
    """Return the scores of the targets, in float32 whatever the model's precision."""
    at_BT = predictions.is_target_BT
    return TokenScores(_spread(-at_positions(_nll, at_BT, [predictions], predictions.labels_BT), at_BT), at_BT)


def _nll(logits_CV: torch.Tensor, labels_C: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits_CV, labels_C, reduction="none")


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
    at_BT = predictions.is_target_BT

    def draw(logits_CV: torch.Tensor, uniform_C: torch.Tensor) -> torch.Tensor:
        cumulative_CV = logits_CV.softmax(dim=-1).cumsum(dim=-1)
        share_C1 = uniform_C.unsqueeze(-1) * cumulative_CV[:, -1:]
        drawn_C = torch.searchsorted(cumulative_CV, share_C1, right=True).squeeze(-1)
        return drawn_C.clamp(max=logits_CV.shape[-1] - 1)  # rounding, or logits that are NaN

    with torch.no_grad():
        drawn_M = at_positions(draw, at_BT, [predictions], uniform_BT)
    return token_scores(replace(predictions, labels_BT=predictions.labels_BT.masked_scatter(at_BT, drawn_M)))


def target_moments(predictions: Predictions, *, moments: bool) -> torch.Tensor:
    """Return what evaluations look at of each target, [M, 2] or with moments [M, 4], float32.

    Columns are log p of the target in nats; 1 where it is the most likely token; and the mean and the variance of log p
    over the vocabulary, under p.
    """

    def scored(logits_CV: torch.Tensor, labels_C: torch.Tensor) -> torch.Tensor:
        is_top_C = logits_CV.argmax(dim=-1) == labels_C
        columns = [-_nll(logits_CV, labels_C), is_top_C.float()]
        if moments:
            logp_CV = logits_CV.log_softmax(dim=-1)
            p_CV = logp_CV.exp()
            mean_C = (p_CV * logp_CV).sum(dim=-1)
            columns += [mean_C, (p_CV * (logp_CV - mean_C.unsqueeze(-1)).square()).sum(dim=-1)]
        return torch.stack(columns, dim=-1)

    return at_positions(scored, predictions.is_target_BT, [predictions], predictions.labels_BT)


def kl_divergence(reference: Predictions, current: Predictions, at_BT: torch.Tensor) -> torch.Tensor:
    """Return KL(reference || current) in nats, [B, T], float32, at the positions ``at_BT``; exactly 0 elsewhere."""

    def kl(current_CV: torch.Tensor, reference_CV: torch.Tensor) -> torch.Tensor:
        logp_CV, of_reference_CV = current_CV.log_softmax(dim=-1), reference_CV.log_softmax(dim=-1)
        return F.kl_div(logp_CV, of_reference_CV, reduction="none", log_target=True).sum(dim=-1)

    return _spread(at_positions(kl, at_BT, [current, reference]), at_BT)


def soft_nll(current: Predictions, teacher: Predictions, change: float, at_BT: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy against a teacher that is led away from the labels, in nats, [B, T]; 0 off ``at_BT``.

    ``change`` is added to the teacher's logit of each label (-inf: the label has no probability), and the softmax of
    these logits is the target, without gradient. Where there is no target, the label is ``IGNORE``, which counts as an
    index from the end of the vocabulary.
    """

    def soft(current_CV: torch.Tensor, teacher_CV: torch.Tensor, labels_C: torch.Tensor) -> torch.Tensor:
        labels_C1 = labels_C.remainder(current_CV.shape[-1]).unsqueeze(-1)
        changes_C1 = torch.full_like(labels_C1, change, dtype=torch.float)
        led_CV = teacher_CV.detach().scatter_add(-1, labels_C1, changes_C1)
        return F.cross_entropy(current_CV, led_CV.softmax(dim=-1), reduction="none")

    return _spread(at_positions(soft, at_BT, [current, teacher], current.labels_BT), at_BT)
