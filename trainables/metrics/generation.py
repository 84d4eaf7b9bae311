"""Texts that a model generates, and their BLEU and chrF against references.

Shape legend: N examples of a set, B batch, T tokens.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from transformers import GenerationConfig

from trainables.distributed import ALONE, WorkerGroup
from trainables.encoding import EncodedSet, collate
from trainables.models import has_adapters
from trainables.torch_seeding import seeded_torch

_KEPT = ("bos_token_id", "eos_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_decoder_ids")
"""Settings of a model's own generation configuration that are kept: which tokens begin and end a text. Beams,
penalties, lengths, temperatures and forbidden words are not kept: under others the same model would score otherwise."""


@dataclass(frozen=True, kw_only=True)
class GenerationTask:
    """Prompts for a model to go on from (sources, for an encoder-decoder), and the texts that it should generate."""

    encoded: EncodedSet
    """Prompts and target tokens. Of a target, the part before ``prefix_ends_N`` belongs to the prompt."""
    references: tuple[str, ...]
    """Target texts, in the order of ``encoded``."""
    tokenizer: Any
    """The model's tokenizer, with a padding token."""
    longest: int | None = None
    """The longest text that is generated, in tokens; None: the longest target's length."""

    def select(self, indices: Sequence[int]) -> "GenerationTask":
        """Return the task with some of its prompts, in the order of ``indices``."""
        return replace(
            self, encoded=self.encoded.select(indices), references=tuple(self.references[i] for i in indices)
        )

    @property
    def max_new_tokens(self) -> int:
        """The length of the longest text that is generated, in tokens."""
        return self.longest if self.longest is not None else int(self.encoded.num_targets_N.max())


def truths(task: GenerationTask) -> tuple[str, ...]:
    """Return what the model should generate after each prompt: the rest of the target, decoded."""
    encoded = task.encoded
    starts = encoded.offsets[:-1] + encoded.prefix_ends_N
    rest = [encoded.tokens[start:end].tolist() for start, end in zip(starts, encoded.offsets[1:], strict=True)]
    return tuple(str(text) for text in task.tokenizer.batch_decode(rest, skip_special_tokens=True))


def bleu_and_chrf(outputs: Sequence[str], references: Sequence[str]) -> tuple[float, float]:
    """Return corpus BLEU (Papineni et al. 2002) and chrF (Popovic 2015), each 0 to 100, as sacrebleu computes them.

    Args:
        outputs: generated texts.
        references: the text that each should have been.
    """
    return BLEU().corpus_score(outputs, [references]).score, CHRF().corpus_score(outputs, [references]).score


@contextmanager
def _generating(model: Any, **settings: Any) -> Iterator[GenerationConfig]:
    """Put a generation configuration in place of the model's own while the block runs, and yield it.

    Otherwise ``model.generate`` would fill every setting that is left open from the model's own.
    """
    owner = model.get_base_model() if has_adapters(model) else model
    own = owner.generation_config
    kept = {name: getattr(own, name, None) for name in _KEPT}
    chosen = GenerationConfig(
        **{name: value for name, value in kept.items() if value is not None}, num_beams=1, **settings
    )
    owner.generation_config = chosen
    try:
        yield chosen
    finally:
        owner.generation_config = own


def generate(
    model: Any, task: GenerationTask, *, batch_size: int, temperature: float | None = None, group: WorkerGroup = ALONE
) -> list[str]:
    """Return the text that a model generates for each prompt, in the task's order.

    Args:
        model: a causal or encoder-decoder model, without the wrapper by which workers share gradients.
        task: the prompts.
        batch_size: examples of one worker at a time.
        temperature: at which tokens are drawn from PyTorch's random numbers; None: the most likely ones are taken.
        group: the workers that share the work, each on its shard; all get all texts.
    """
    padding = task.tokenizer.pad_token_id
    limit = _room_for(model, task)
    generated_NT = np.zeros((len(task.encoded), limit), dtype=np.int64)
    order = np.arange(len(task.encoded))
    sampling = (
        {"do_sample": False} if temperature is None else {"do_sample": True, "temperature": temperature, "top_k": 0}
    )
    for start in range(0, len(order), batch_size * group.size):
        indices = group.shard(order[start : start + batch_size * group.size])
        inputs = _prompts(task, indices, padding, model.device)
        with (
            torch.no_grad(),
            _generating(model, max_new_tokens=limit, pad_token_id=padding, **sampling) as configuration,
        ):
            tokens_BT = model.generate(
                **inputs,
                generation_config=configuration,
                synced_gpus=group.size > 1,  # a sharded model is run by all workers or by none
            )
        # an encoder-decoder gives back the token that starts its decoder, a causal model its prompt
        given = 1 if task.encoded.encoder_decoder else inputs["input_ids"].shape[1]
        generated_BT = tokens_BT[: len(indices), given:].cpu().numpy()
        padded_BT = np.full((len(indices), limit), padding)
        padded_BT[:, : generated_BT.shape[1]] = generated_BT
        generated_NT[indices] = padded_BT
    generated_NT = group.all_reduce_sum(
        torch.from_numpy(generated_NT)
    ).numpy()  # each example's text is one process's, and 0 elsewhere
    return [str(text) for text in task.tokenizer.batch_decode(generated_NT, skip_special_tokens=True)]


def sample(
    model: Any,
    task: GenerationTask,
    *,
    samples: int,
    temperature: float,
    batch_size: int,
    group: WorkerGroup = ALONE,
) -> tuple[tuple[str, ...], ...]:
    """Return several texts for each prompt, drawn at a temperature; the same ones for the same model.

    Args:
        model: as for ``generate``.
        task: the prompts.
        samples: texts for each.
        temperature: of the draws.
        batch_size: examples of one worker at a time.
        group: the workers that share the work.
    """
    drawn = []
    for number in range(samples):
        with seeded_torch(0, "samples", number, group.rank):
            drawn.append(generate(model, task, batch_size=batch_size, temperature=temperature, group=group))
    return tuple(zip(*drawn, strict=True))


def _prompts(
    task: GenerationTask, indices: npt.NDArray[np.int64], padding: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """Return the prompts of a batch: sources padded on the right, or what a causal model goes on from, on the left."""
    encoded = task.encoded
    if encoded.encoder_decoder:
        batch = collate(encoded, indices, device=device)
        return {name: batch[name] for name in ("input_ids", "attention_mask")}
    prompts = [encoded.tokens[encoded.offsets[i] :][: encoded.prefix_ends_N[i]] for i in indices]
    longest = max(map(len, prompts), default=1)
    ids_BT = torch.full((max(len(prompts), 1), longest), padding)
    mask_BT = torch.zeros_like(ids_BT)
    for row, prompt in enumerate(prompts):
        ids_BT[row, longest - len(prompt) :] = torch.from_numpy(prompt.copy())
        mask_BT[row, longest - len(prompt) :] = 1
    mask_BT[len(prompts) :] = 1  # an empty shard is a row of no example
    return {"input_ids": ids_BT.to(device), "attention_mask": mask_BT.to(device)}


def _room_for(model: Any, task: GenerationTask) -> int:
    """Return the longest text that is generated, in tokens, which a model with absolute positions may cut."""
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is None or task.encoded.encoder_decoder:
        return task.max_new_tokens
    return max(1, min(task.max_new_tokens, int(positions) - int(task.encoded.prefix_ends_N.max())))
