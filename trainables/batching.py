"""Texts to token ids to padded batches, and which examples each ascent step sees.

Shape legend: N examples, B batch, T tokens (prompt and target), right-padded. For encoder-decoder models: S tokens of
the source, T tokens of the target, each right-padded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from trainables.errors import UnlearningError
from trainables.examples import Example
from trainables.seeding import generator

IGNORE = -100
"""Label of a position that is not a target (the convention of Transformers)."""

Batch = dict[str, torch.Tensor]
"""``input_ids``, ``attention_mask`` and ``labels``, each [B, T]; ``labels`` is ``IGNORE`` off the target.

For encoder-decoder models ``input_ids`` and ``attention_mask`` are of the source, [B, S], and ``labels`` [B, T] of the
target.
"""


class Form(StrEnum):
    """How an example's prompt and completion become tokens."""

    TEXT = "text"
    """One text: the first token, prompt, completion."""
    CHAT = "chat"
    """A user's message and the assistant's answer, by the tokenizer's chat template."""
    PAIR = "pair"
    """Source and target of an encoder-decoder model, each with what the tokenizer puts around it."""


@dataclass(frozen=True, kw_only=True)
class EncodedSet:
    """Tokenized examples in flat arrays, so that Ray's object store shares them without copying."""

    example_ids: tuple[str, ...]
    tokens: npt.NDArray[np.int64]
    """All token ids, example after example."""
    offsets: npt.NDArray[np.int64]
    """[N + 1]: example i is ``tokens[offsets[i]:offsets[i + 1]]``."""
    target_starts_N: npt.NDArray[np.int64]
    """First target position within each example."""
    prefix_ends_N: npt.NDArray[np.int64]
    """First target position that extraction has to produce; targets before it are given."""
    encoder_decoder: bool = False
    """The tokens before the target are the source that an encoder reads, and no part of what the decoder writes."""

    def __len__(self) -> int:
        return len(self.example_ids)

    @property
    def num_targets_N(self) -> npt.NDArray[np.int64]:
        """Number of target tokens of each example."""
        return np.diff(self.offsets) - self.target_starts_N

    @property
    def longest(self) -> int:
        """Index of the longest example."""
        return int(np.diff(self.offsets).argmax())

    def select(self, indices: Sequence[int]) -> "EncodedSet":
        """Copy a subset, in the order of ``indices``."""
        pieces = [self.tokens[self.offsets[i] : self.offsets[i + 1]] for i in indices]
        return EncodedSet(
            example_ids=tuple(self.example_ids[i] for i in indices),
            tokens=np.concatenate(pieces),
            offsets=np.cumsum([0, *map(len, pieces)]),
            target_starts_N=self.target_starts_N[list(indices)],
            prefix_ends_N=self.prefix_ends_N[list(indices)],
            encoder_decoder=self.encoder_decoder,
        )


def encode(
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    max_tokens: int,
    form: Form = Form.TEXT,
    extraction_prefix: float = 0.5,
) -> EncodedSet:
    """Tokenize prompts and completions, which never share a token.

    ``extraction_prefix`` is the share of the target given as prefix where the prompt is empty.

    Raises:
        UnlearningError: an example has no target token or nothing before it, lacks a prompt that its form needs, or is
            longer than ``max_tokens``.
    """
    pieces, target_starts, prefix_ends = [], [], []
    for example in examples:
        where = f"example '{example.example_id}'"
        if form is not Form.TEXT and not example.prompt:
            raise UnlearningError(
                f"{where}: it has no prompt, and {_NEEDS_PROMPT[form]}; give data with prompts (or sources)"
            )
        given, target = _ENCODERS[form](tokenizer, example)
        first = len(given)
        if not target or first == 0:
            raise UnlearningError(
                f"{where}: there is nothing to score; a completion needs a token, and a token before it"
            )
        if first + len(target) > max_tokens:
            raise UnlearningError(
                f"{where}: {first + len(target)} tokens, above data.max_tokens = {max_tokens}; raise it or drop it"
            )
        pieces.append([*given, *target])
        target_starts.append(first)
        prefix_ends.append(first if example.prompt else first + int(len(target) * extraction_prefix))
    return EncodedSet(
        example_ids=tuple(example.example_id for example in examples),
        tokens=np.array([token for piece in pieces for token in piece], dtype=np.int64),
        offsets=np.cumsum([0, *map(len, pieces)]),
        target_starts_N=np.array(target_starts, dtype=np.int64),
        prefix_ends_N=np.array(prefix_ends, dtype=np.int64),
        encoder_decoder=form is Form.PAIR,
    )


def _text(tokenizer: Any, example: Example) -> tuple[list[int], list[int]]:
    start = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
    prompt = tokenizer.encode(example.prompt, add_special_tokens=False) if example.prompt else []
    return [*start, *prompt], tokenizer.encode(example.completion, add_special_tokens=False)


def _chat(tokenizer: Any, example: Example) -> tuple[list[int], list[int]]:
    question = [{"role": "user", "content": example.prompt}]
    answer = {"role": "assistant", "content": example.completion}
    before: str = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    whole: str = tokenizer.apply_chat_template([*question, answer], tokenize=False)
    if not whole.startswith(before):
        raise UnlearningError(
            f"model.chat_template: this tokenizer's template writes a question otherwise once it is answered, so that "
            f"the answer of '{example.example_id}' cannot be told from it; leave chat_template out"
        )
    return (
        tokenizer.encode(before, add_special_tokens=False),
        tokenizer.encode(whole.removeprefix(before), add_special_tokens=False),
    )


def _pair(tokenizer: Any, example: Example) -> tuple[list[int], list[int]]:
    return tokenizer(example.prompt)["input_ids"], tokenizer(text_target=example.completion)["input_ids"]


_ENCODERS = {Form.TEXT: _text, Form.CHAT: _chat, Form.PAIR: _pair}
_NEEDS_PROMPT = {Form.CHAT: "a chat begins with a user's message", Form.PAIR: "an encoder needs a source to read"}


def collate(
    encoded: EncodedSet, indices: Sequence[int] | npt.NDArray[np.int64], *, device: torch.device | str = "cpu"
) -> Batch:
    """Pad the chosen examples on the right to the longest of them. No example: one row without targets."""
    rows = [torch.from_numpy(encoded.tokens[encoded.offsets[i] : encoded.offsets[i + 1]].copy()) for i in indices]
    starts = [int(encoded.target_starts_N[i]) for i in indices]
    if encoded.encoder_decoder:
        read = [row[:start] for row, start in zip(rows, starts, strict=True)]
        labels = [row[start:] for row, start in zip(rows, starts, strict=True)]
    else:
        read = rows
        labels = [F.pad(row[start:], (start, 0), value=IGNORE) for row, start in zip(rows, starts, strict=True)]
    batch = {
        "input_ids": _padded(read, 0),
        "attention_mask": _padded([torch.ones_like(row) for row in read], 1 if not read else 0),
        "labels": _padded(labels, IGNORE),
    }
    return {name: tensor.to(device) for name, tensor in batch.items()}


def _padded(rows: list[torch.Tensor], value: int) -> torch.Tensor:
    """Put rows of different lengths under each other; no row: one of padding."""
    if not rows:
        return torch.full((1, 2), value, dtype=torch.long)
    return pad_sequence(rows, batch_first=True, padding_value=value)


def batches_by_length(encoded: EncodedSet, batch_size: int) -> Iterator[npt.NDArray[np.int64]]:
    """Cut a set into batches of similar length, so that little is padding. Every example comes once."""
    order = np.argsort(np.diff(encoded.offsets), kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


@dataclass(frozen=True, kw_only=True)
class BatchOrder:
    """Which examples step 1, 2, ... sees: a pure function of seed and step, so resuming needs no state.

    Every epoch is a fresh permutation, cut into equal batches; the ragged end of an epoch is left out.
    """

    num_examples: int
    batch_size: int
    seed: int

    def indices(self, step: int) -> npt.NDArray[np.int64]:
        """Give the indices of the batch of ``step`` (counted from 1), at most ``batch_size`` of them."""
        size = min(self.batch_size, self.num_examples)
        per_epoch = self.num_examples // size
        epoch, position = divmod(step - 1, per_epoch)
        order = _order_of_epoch(self.seed, epoch, self.num_examples)
        return order[position * size : (position + 1) * size]


@lru_cache(maxsize=2)  # of the forget and the retain set: of millions of examples it takes longer to draw than a step
def _order_of_epoch(seed: int, epoch: int, num_examples: int) -> npt.NDArray[np.int64]:
    order = generator(seed, "batch_order", epoch).permutation(num_examples)
    order.flags.writeable = False
    return order
