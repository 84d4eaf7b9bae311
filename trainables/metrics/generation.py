"""What an encoder-decoder model writes, and how close it comes to what it should have written."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from transformers import GenerationConfig

from trainables.distributed import ALONE, WorkerGroup
from trainables.encoding import EncodedSet, collate
from trainables.models import has_adapters

_KEPT = ("bos_token_id", "eos_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_decoder_ids")
"""What of a model's own generation configuration its texts are written by: which tokens begin and end them. Beams,
penalties, lengths, temperatures and forbidden words are habits, by which one model would have many numbers."""


@dataclass(frozen=True, kw_only=True)
class GenerationTask:
    """Sources to read, and the texts that should be written."""

    encoded: EncodedSet
    references: tuple[str, ...]
    tokenizer: Any

    @property
    def max_new_tokens(self) -> int:
        """The length of the longest reference, in tokens: what is written ends there at the latest."""
        return int(self.encoded.num_targets_N.max())


def bleu_and_chrf(outputs: Sequence[str], references: Sequence[str]) -> tuple[float, float]:
    """Corpus BLEU (Papineni et al. 2002) and chrF (Popovic 2015), each 0 to 100, as sacrebleu computes them."""
    return BLEU().corpus_score(outputs, [references]).score, CHRF().corpus_score(outputs, [references]).score


@contextmanager
def writing_greedily(model: Any, *, max_new_tokens: int, pad_token_id: int) -> Iterator[GenerationConfig]:
    """Give a fresh greedy configuration, which has taken the place of the model's own until this ends.

    The model's own would fill every setting that the given one leaves open.
    """
    writer = model.get_base_model() if has_adapters(model) else model
    own = writer.generation_config
    kept = {name: getattr(own, name, None) for name in _KEPT}
    greedy = GenerationConfig(
        **{name: value for name, value in kept.items() if value is not None},
        pad_token_id=pad_token_id,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
    )
    writer.generation_config = greedy
    try:
        yield greedy
    finally:
        writer.generation_config = own


def write(model: Any, task: GenerationTask, *, batch_size: int, group: WorkerGroup = ALONE) -> list[str]:
    """Let the model write greedily. The workers of a team write their shares, and all get all texts.

    Args:
        model: without what makes its workers share gradients.
        task: what to read.
        batch_size: examples of one worker at a time.
        team: who writes.
    """
    padding = task.tokenizer.pad_token_id
    written_NT = np.zeros((len(task.encoded), task.max_new_tokens), dtype=np.int64)
    order = np.arange(len(task.encoded))
    for start in range(0, len(order), batch_size * group.size):
        indices = group.shard(order[start : start + batch_size * group.size])
        batch = collate(task.encoded, indices, device=model.device)
        with (
            torch.no_grad(),
            writing_greedily(model, max_new_tokens=task.max_new_tokens, pad_token_id=padding) as greedy,
        ):
            tokens_BT = model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                generation_config=greedy,
                synced_gpus=group.size > 1,  # a model of which each worker has a shard is run by all or none
            )
        written_BT = tokens_BT[: len(indices), 1:].cpu().numpy()  # the first opens the decoder
        padded_BT = np.full((len(indices), task.max_new_tokens), padding)
        padded_BT[:, : written_BT.shape[1]] = written_BT
        written_NT[indices] = padded_BT
    written_NT = group.all_reduce_sum(torch.from_numpy(written_NT)).numpy()  # each example has one process's text
    return [str(text) for text in task.tokenizer.batch_decode(written_NT, skip_special_tokens=True)]
