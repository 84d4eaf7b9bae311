"""Texts to token ids to padded batches, and which examples each ascent step sees.

Shape legend: N examples, B batch, T tokens (prompt and target), right-padded. For encoder-decoder models: S tokens of
the source, T tokens of the target, each right-padded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from trainables.data import Example, shortened
from trainables.encoding.boundary import cut, leading_tokens
from trainables.encoding.chat import chat_texts
from trainables.errors import UnlearningError
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
    """One text: what the tokenizer puts before it, or else its BOS token; prompt; completion. Nothing follows it. The
    text is tokenized as a whole, and a token that holds characters of both prompt and completion is a target."""
    CHAT = "chat"
    """A user's message and the assistant's answer, by the tokenizer's chat template. The chat is tokenized as a whole,
    and a token that holds characters of both what precedes the answer and the answer is a target."""
    PAIR = "pair"
    """Source and target of an encoder-decoder model: two texts, each with what the tokenizer puts around it."""


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
    chat_date: date | None = None,
) -> EncodedSet:
    """Tokenize examples, each as one text, and mark where its target begins: see ``Form``.

    Args:
        tokenizer: of the model.
        examples: what is to be tokenized.
        max_tokens: the longest example that is allowed.
        form: how prompts and completions become tokens.
        extraction_prefix: the share of the target given as prefix where the prompt is empty.
        chat_date: the day that a chat template is told; None: it may look at the clock.

    Raises:
        UnlearningError: an example has no target token or nothing before it, lacks a prompt that its form needs, or is
            longer than ``max_tokens``.
    """
    pieces, target_starts, prefix_ends = [], [], []
    leading = leading_tokens(tokenizer) if form is Form.TEXT else []
    for example in examples:
        where = f"example '{example.example_id}'"
        if form is not Form.TEXT and not example.prompt:
            raise UnlearningError(
                f"{where}: it has no prompt, and {_NEEDS_PROMPT[form]}; give data with prompts (or sources)"
            )
        given, target = _pieces(tokenizer, example, form, chat_date, leading)
        first = len(given)
        if not target:
            raise UnlearningError(
                f"{where}: there is nothing to score; its completion {shortened(example.completion)} has no token; "
                f"give one with text in it, or leave the example out"
            )
        if first == 0:
            raise UnlearningError(
                f"{where}: there is nothing to score its first token by: the tokenizer puts no token before a text and "
                f"has no BOS token, and the prompt {shortened(example.prompt)} has none that is not part of the "
                f"target; set model.bos_token to one of its tokens ({_names_of_special_tokens(tokenizer)}), or give "
                f"the example a prompt"
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


def _pieces(
    tokenizer: Any, example: Example, form: Form, chat_date: date | None, leading: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Return the tokens that are given, and those of the target."""
    if form is Form.PAIR:
        return tokenizer(example.prompt)["input_ids"], tokenizer(text_target=example.completion)["input_ids"]
    if form is Form.CHAT:
        before, full_tensor = chat_texts(tokenizer, example, chat_date=chat_date)
        return cut(tokenizer, full_tensor, at=len(before))
    given, target = cut(tokenizer, example.text, at=len(example.prompt))
    return [*leading, *given], target


def _names_of_special_tokens(tokenizer: Any) -> str:
    return ", ".join(map(repr, getattr(tokenizer, "all_special_tokens", ()))) or "it has no special ones"


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
