"""Texts that an encoder-decoder model generates, and their BLEU and chrF against references.

Shape legend: N examples of a set, B batch, T tokens.
"""

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
"""Settings of a model's own generation configuration that are kept: which tokens begin and end a text. Beams,
penalties, lengths, temperatures and forbidden words are not kept: under others the same model would score otherwise."""


@dataclass(frozen=True, kw_only=True)
class GenerationTask:
    """Sources for a model to read, and the texts that it should generate."""

    encoded: EncodedSet
    """Sources and target tokens."""
    references: tuple[str, ...]
    """Target texts, in the order of ``encoded``."""
    tokenizer: Any
    """The model's tokenizer, with a padding token."""

    @property
    def max_new_tokens(self) -> int:
        """The length of the longest target in tokens; no generated text is longer."""
        return int(self.encoded.num_targets_N.max())


def bleu_and_chrf(outputs: Sequence[str], references: Sequence[str]) -> tuple[float, float]:
    """Return corpus BLEU (Papineni et al. 2002) and chrF (Popovic 2015), each 0 to 100, as sacrebleu computes them.

    Args:
        outputs: generated texts.
        references: the text that each should have been.
    """
    return BLEU().corpus_score(outputs, [references]).score, CHRF().corpus_score(outputs, [references]).score


@contextmanager
def greedy_generation(model: Any, *, max_new_tokens: int, pad_token_id: int) -> Iterator[GenerationConfig]:
    """Put a greedy generation configuration in place of the model's own while the block runs, and yield it.

    Otherwise ``model.generate`` would fill every setting that is left open from the model's own.
    """
    owner = model.get_base_model() if has_adapters(model) else model
    own = owner.generation_config
    kept = {name: getattr(own, name, None) for name in _KEPT}
    greedy = GenerationConfig(
        **{name: value for name, value in kept.items() if value is not None},
        pad_token_id=pad_token_id,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
    )
    owner.generation_config = greedy
    try:
        yield greedy
    finally:
        owner.generation_config = own


def generate(model: Any, task: GenerationTask, *, batch_size: int, group: WorkerGroup = ALONE) -> list[str]:
    """Return the text that a model generates greedily for each source, in the task's order.

    Args:
        model: an encoder-decoder, without the wrapper by which workers share gradients.
        task: the sources.
        batch_size: examples of one worker at a time.
        group: the workers that share the work, each on its shard; all get all texts.
    """
    padding = task.tokenizer.pad_token_id
    generated_NT = np.zeros((len(task.encoded), task.max_new_tokens), dtype=np.int64)
    order = np.arange(len(task.encoded))
    for start in range(0, len(order), batch_size * group.size):
        indices = group.shard(order[start : start + batch_size * group.size])
        batch = collate(task.encoded, indices, device=model.device)
        with (
            torch.no_grad(),
            greedy_generation(model, max_new_tokens=task.max_new_tokens, pad_token_id=padding) as greedy,
        ):
            tokens_BT = model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                generation_config=greedy,
                synced_gpus=group.size > 1,  # a sharded model is run by all workers or by none
            )
        generated_BT = tokens_BT[: len(indices), 1:].cpu().numpy()  # the first token starts the decoder
        padded_BT = np.full((len(indices), task.max_new_tokens), padding)
        padded_BT[:, : generated_BT.shape[1]] = generated_BT
        generated_NT[indices] = padded_BT
    generated_NT = group.all_reduce_sum(
        torch.from_numpy(generated_NT)
    ).numpy()  # each example's text is one process's, and 0 elsewhere
    return [str(text) for text in task.tokenizer.batch_decode(generated_NT, skip_special_tokens=True)]
