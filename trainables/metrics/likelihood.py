"""The only place that runs a model for its predictions, and that shifts, masks and reduces token log-probabilities.

Shape legend: B batch, T positions of predictions, V vocabulary, N examples of a set or of a step, M chosen positions.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from trainables.distributed import ALONE, WorkerGroup, unwrap_model
from trainables.encoding import IGNORE, Batch, EncodedSet, batches_by_length, collate
from trainables.errors import UnlearningError
from trainables.metrics.reductions import Reduction


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a model predicts for a batch, aligned: the logits at position t are of the label at position t.

    For a causal model labels are shifted by one, and the last position has none. For an encoder-decoder nothing is
    shifted: positions are those of the target.
    """

    logits_BTV: torch.Tensor
    """With gradient, in the model's precision."""
    labels_BT: torch.Tensor
    """``IGNORE`` off the target."""
    batch: Batch
    shift: Literal[0, 1]
    """How many tokens later than its position a label stands."""

    @property
    def is_target_BT(self) -> torch.Tensor:
        """True where a target token is predicted."""
        return self.labels_BT != IGNORE

    @property
    def is_token_BT(self) -> torch.Tensor:
        """True at the tokens of examples, prompts included and padding not; of an encoder-decoder, at its targets."""
        if not self.shift:
            return self.is_target_BT
        return self.batch["attention_mask"].bool() & self.is_target_BT.any(dim=-1, keepdim=True)

    @property
    def has_label_BT(self) -> torch.Tensor:
        """True where something is predicted at all, target or not, padding or not."""
        positions_T = torch.arange(self.labels_BT.shape[1], device=self.labels_BT.device)
        return (positions_T < len(positions_T) - self.shift).expand_as(self.labels_BT)

    @property
    def num_unpredicted_B(self) -> torch.Tensor:
        """Count the targets of each example that nothing comes before, so that no position predicts them: 0 or 1."""
        return (self.batch["labels"][:, : self.shift] != IGNORE).sum(dim=-1)


def predict(model: Any, batch: Batch) -> Predictions:
    """Run a causal or encoder-decoder model on a batch; what the model is, its configuration says.

    Raises:
        UnlearningError: an encoder-decoder does not say which token its decoder starts with.
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
    """Shift the target right, as the decoder was trained to read it: a token that starts it, then target and padding.

    What stands after the target changes no prediction of it: a decoder looks back only.
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

    def nll_per_token(self) -> torch.Tensor:
        """Token-weighted mean NLL, a scalar in nats per token."""
        return -self.logp_BT.sum() / self.is_target_BT.sum()


def token_scores(predictions: Predictions) -> TokenScores:
    """Score the targets, in float32 whatever the model's precision."""
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
    """Run the model on a batch and score, in place of each target, a token drawn from its own distribution there.

    ``uniform_BT`` decides what is drawn: the first token up to which that share of the probability lies.
    """
    predictions = predict(model, batch)
    logits_BTV, at_BT = predictions.logits_BTV, predictions.is_target_BT
    with torch.no_grad():
        cumulative_MV = logits_BTV[at_BT].float().softmax(dim=-1).cumsum(dim=-1)
        share_M1 = uniform_BT[at_BT].unsqueeze(-1) * cumulative_MV[:, -1:]
        drawn_M = torch.searchsorted(cumulative_MV, share_M1, right=True).squeeze(-1)
    drawn_M = drawn_M.clamp(max=logits_BTV.shape[-1] - 1)  # rounding, or logits that are no numbers
    return token_scores(replace(predictions, labels_BT=predictions.labels_BT.masked_scatter(at_BT, drawn_M)))


def greedy_misses(predictions: Predictions) -> torch.Tensor:
    """Mark the targets that are not the model's most likely token, [B, T]."""
    return (predictions.logits_BTV.argmax(dim=-1) != predictions.labels_BT) & predictions.is_target_BT


def kl_divergence(reference: Predictions, current: Predictions, at_BT: torch.Tensor) -> torch.Tensor:
    """KL(reference || current) in nats, [B, T], at the positions ``at_BT``, in float32; exactly 0 elsewhere."""
    reference_MV, current_MV = (p.logits_BTV[at_BT].float().log_softmax(dim=-1) for p in (reference, current))
    kl_M = F.kl_div(current_MV, reference_MV, reduction="none", log_target=True).sum(dim=-1)
    return kl_M.new_zeros(at_BT.shape).masked_scatter(at_BT, kl_M)


def soft_nll(current: Predictions, teacher: Predictions, change: float, at_BT: torch.Tensor) -> torch.Tensor:
    """Cross-entropy against a teacher that is led away from the labels, in nats, [B, T]; exactly 0 off ``at_BT``.

    The teacher's logit of each label is changed by ``change`` (-inf: the label has no share), and its softmax is the
    target, without gradient. A position without a target has the label ``IGNORE``, an index from the vocabulary's end.
    """
    current_MV, teacher_MV = (p.logits_BTV[at_BT].float() for p in (current, teacher))
    labels_M1 = current.labels_BT[at_BT].remainder(current_MV.shape[-1]).unsqueeze(-1)
    led_MV = teacher_MV.detach().scatter_add(-1, labels_M1, torch.full_like(labels_M1, change, dtype=torch.float))
    nll_M = F.cross_entropy(current_MV, led_MV.softmax(dim=-1), reduction="none")
    return nll_M.new_zeros(at_BT.shape).masked_scatter(at_BT, nll_M)


@dataclass(frozen=True, kw_only=True)
class StepCounts:
    """How much each example of a step's whole batch counts, so that the losses of its micro-batches add up."""

    targets_N: npt.NDArray[np.int64]
    """Target tokens that are predicted."""
    tokens_N: npt.NDArray[np.int64]
    """Positions of ``Predictions.is_token_BT``."""

    @staticmethod
    def of(encoded: EncodedSet) -> "StepCounts":
        """Count a set of which every example is in the step."""
        targets_N = encoded.num_targets_N
        return StepCounts(
            targets_N=targets_N, tokens_N=targets_N if encoded.encoder_decoder else np.diff(encoded.offsets)
        )


def step_mean(
    values_BT: torch.Tensor, at_BT: torch.Tensor, reduction: Reduction, counts_N: npt.NDArray[np.int64] | None
) -> torch.Tensor:
    """Give a batch's share of the mean over a whole step; the shares of all its micro-batches add up to that mean.

    Args:
        values_BT: 0 where nothing counts.
        at_BT: the positions that count.
        reduction: how positions weigh.
        counts_N: positions that count, of each example of the step; None: the batch is all of it. Examples of which no
            position counts are none, in any mean.
    """
    own_B = at_BT.sum(dim=-1)
    counts_N = own_B.cpu().numpy() if counts_N is None else counts_N
    if reduction == "token":
        return values_BT.sum() / max(1, int(counts_N.sum()))
    return (values_BT.sum(dim=-1) / own_B.clamp(min=1)).sum() / max(1, int((counts_N > 0).sum()))


def example_mean(values_B: torch.Tensor, at_B: torch.Tensor, counts_N: npt.NDArray[np.int64] | None) -> torch.Tensor:
    """Give a batch's share of the mean over a step's examples; as ``step_mean``, of one value an example."""
    num_examples = int(at_B.sum()) if counts_N is None else int((counts_N > 0).sum())
    return torch.where(at_B, values_B, 0).sum() / max(1, num_examples)


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


def score_set(model: Any, encoded: EncodedSet, *, batch_size: int, group: WorkerGroup = ALONE) -> SetScores:
    """Score every example of a set; sums over tokens are float64.

    The workers of a ``team`` score ``batch_size`` examples each at a time, and all get all scores. They make equally
    many forward passes, as a model of which each has a shard needs.

    Greedy extraction needs no decoding: greedy decoding reproduces a target exactly if and only if, with the
    target itself as context, each of its tokens is the most likely one (by induction over positions).
    """
    device = next(model.parameters()).device
    logp_N, extracted_N = scores_2N = np.zeros((2, len(encoded)))
    with torch.no_grad():  # inference mode would leave a sharded model with layers that cannot be trained
        for batch_indices in batches_by_length(encoded, batch_size * group.size):
            indices = group.shard(batch_indices)
            batch = collate(encoded, indices, device=device)
            predictions = predict(model, batch)
            logp_B = token_scores(predictions).logp_BT.double().sum(dim=-1).cpu().numpy()
            misses_BT = greedy_misses(predictions).cpu().numpy()[: len(indices)]
            firsts_B = encoded.target_starts_N[indices] if encoded.encoder_decoder else np.ones(len(indices), dtype=int)
            tokens_BT = firsts_B[:, np.newaxis] + np.arange(misses_BT.shape[1])  # which token of its example each is of
            asked_BT = tokens_BT >= encoded.prefix_ends_N[indices][:, np.newaxis]
            logp_N[indices] = logp_B[: len(indices)]  # an empty share is one row, of no example
            extracted_N[indices] = ~(misses_BT & asked_BT).any(axis=-1)
    logp_N, extracted_N = group.all_reduce_sum(
        torch.from_numpy(scores_2N)
    ).numpy()  # each example has one process's score
    return SetScores(logp_N=logp_N, num_targets_N=encoded.num_targets_N, extracted_N=extracted_N.astype(bool))
