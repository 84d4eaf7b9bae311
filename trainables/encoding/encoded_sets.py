"""Examples as token ids: an ``EncodedSet``, and how texts become one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.data import Example, shortened
from trainables.encoding.chat import chat_texts
from trainables.encoding.prompt_split import leading_tokens, tokenize_and_split
from trainables.errors import UnlearningError


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


_NEEDS_PROMPT = {Form.CHAT: "a chat begins with a user's message", Form.PAIR: "an encoder needs a source to read"}
"""Why a form needs a prompt, for those that do."""


@dataclass(frozen=True, kw_only=True)
class EncodedSet:
    """Tokenized examples in flat arrays, which Ray's object store shares without copying. N is their number."""

    example_ids: tuple[str, ...]
    tokens: npt.NDArray[np.int64]
    """All token ids, example after example."""
    offsets: npt.NDArray[np.int64]
    """[N + 1]: example i is ``tokens[offsets[i]:offsets[i + 1]]``."""
    target_starts_N: npt.NDArray[np.int64]
    """First target position within each example."""
    prefix_ends_N: npt.NDArray[np.int64]
    """First target position that extraction has to produce; the targets before it are given."""
    encoder_decoder: bool = False
    """Whether the tokens before the target are the source, which an encoder reads and the decoder does not continue."""

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
        """Return a copy of some examples, in the order of ``indices``."""
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
    """Tokenize examples and mark where the target of each begins. See ``Form``.

    Args:
        tokenizer: of the model.
        examples: what to tokenize.
        max_tokens: the longest example that is allowed.
        form: how prompts and completions become tokens.
        extraction_prefix: the share of the target that is given as prefix where the prompt is empty.
        chat_date: the date that a chat template is given; None: the template may read the clock.

    Raises:
        UnlearningError: an example has no target token or nothing before it, lacks a prompt that its form needs, or is
            longer than ``max_tokens``.
    """
    pieces, target_starts, prefix_ends = [], [], []
    leading = leading_tokens(tokenizer) if form is Form.TEXT else []
    for example in examples:
        given, target = _tokens_of(tokenizer, example, form, chat_date, leading)
        _require_usable(tokenizer, example, given, target, max_tokens)
        pieces.append([*given, *target])
        target_starts.append(len(given))
        prefix_ends.append(len(given) + (0 if example.prompt else int(len(target) * extraction_prefix)))
    return EncodedSet(
        example_ids=tuple(example.example_id for example in examples),
        tokens=np.array([token for piece in pieces for token in piece], dtype=np.int64),
        offsets=np.cumsum([0, *map(len, pieces)]),
        target_starts_N=np.array(target_starts, dtype=np.int64),
        prefix_ends_N=np.array(prefix_ends, dtype=np.int64),
        encoder_decoder=form is Form.PAIR,
    )


def _tokens_of(
    tokenizer: Any, example: Example, form: Form, chat_date: date | None, leading: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Return the tokens before the target, and those of the target."""
    if form is not Form.TEXT and not example.prompt:
        raise UnlearningError(
            f"example '{example.example_id}': it has no prompt, and {_NEEDS_PROMPT[form]}; give data with prompts (or "
            f"sources)"
        )
    if form is Form.PAIR:
        return tokenizer(example.prompt)["input_ids"], tokenizer(text_target=example.completion)["input_ids"]
    if form is Form.CHAT:
        before, whole = chat_texts(tokenizer, example, chat_date=chat_date)
        return tokenize_and_split(tokenizer, whole, at=len(before))
    given, target = tokenize_and_split(tokenizer, example.text, at=len(example.prompt))
    return [*leading, *given], target


def _require_usable(tokenizer: Any, example: Example, given: list[int], target: list[int], max_tokens: int) -> None:
    """Require that an example has a target, something before it, and no more than ``max_tokens`` tokens.

    Raises:
        UnlearningError: the example lacks one of these.
    """
    where = f"example '{example.example_id}'"
    if not target:
        raise UnlearningError(
            f"{where}: there is nothing to score; its completion {shortened(example.completion)} has no token; "
            f"give one with text in it, or leave the example out"
        )
    if not given:
        raise UnlearningError(
            f"{where}: there is nothing to predict its first token from: the tokenizer puts no token before a text and "
            f"has no BOS token, and the prompt {shortened(example.prompt)} has none that is not part of the "
            f"target; set model.bos_token to one of its tokens ({_names_of_special_tokens(tokenizer)}), or give "
            f"the example a prompt"
        )
    tokens = len(given) + len(target)
    if tokens > max_tokens:
        raise UnlearningError(
            f"{where}: {tokens} tokens, above data.max_tokens = {max_tokens}; raise data.max_tokens or leave the "
            f"example out"
        )


def _names_of_special_tokens(tokenizer: Any) -> str:
    return ", ".join(map(repr, getattr(tokenizer, "all_special_tokens", ()))) or "it has no special ones"
