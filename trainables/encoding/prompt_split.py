"""Tokenizing prompt and completion as one text, and finding where the target begins among its tokens.

The tokens of "a b" need not be those of "a" followed by those of " b". So a text is tokenized as a whole, as
Transformers does for training, and its tokens are then divided by the characters that they stand for.
"""

from collections.abc import Sequence
from typing import Any

Tokens = list[int]


def special_tokens_around(tokenizer: Any) -> tuple[Tokens, Tokens]:
    """Return the ids that the tokenizer puts before and after every text, such as BOS, ``[CLS]`` and ``[SEP]``."""
    plain = tokenizer.encode("a", add_special_tokens=False)
    whole = tokenizer.encode("a", add_special_tokens=True)
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start], whole[start + len(plain) :]
    return [], []


def leading_tokens(tokenizer: Any) -> Tokens:
    """Return the ids before every text: those that the tokenizer puts there, or else its BOS token.

    The first token of a text without prompt is predicted from them. Empty where the tokenizer has neither.
    """
    before, _ = special_tokens_around(tokenizer)
    if before or tokenizer.bos_token_id is None:
        return before
    return [tokenizer.bos_token_id]


def tokenize_and_split(tokenizer: Any, text: str, *, at: int) -> tuple[Tokens, Tokens]:
    """Tokenize ``text`` without special tokens, and return the tokens before the target and those of the target.

    The target starts with the first token that holds a character at or after ``at``. A token with characters of both
    prompt and completion is therefore a target. White space that a tokenizer leaves out of a token's span belongs to no
    token. A character that takes several tokens (byte fallback) is never split.

    A tokenizer that cannot report which characters a token stands for (not a "fast" one) tokenizes the prompt alone
    too, and the target starts where the two sequences first differ. That is at the token described above or before it,
    unless that is the unknown token, which is the same in both.

    Args:
        tokenizer: of the model.
        text: prompt and completion, as one string.
        at: the index of the completion's first character; 0: there is no prompt, and every token is a target.
    """
    if not getattr(tokenizer, "is_fast", False):
        tokens = tokenizer.encode(text, add_special_tokens=False)
        given = tokenizer.encode(text[:at], add_special_tokens=False) if at else []
        first = _common_prefix(given, tokens)
    else:
        encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        tokens, spans = encoding["input_ids"], encoding["offset_mapping"]
        first = next((index for index, (_, end) in enumerate(spans) if end > at), len(tokens)) if at else 0
    return tokens[:first], tokens[first:]


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """Return the number of tokens that both sequences begin with."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((index for index, (one, other) in pairs if one != other), min(len(left), len(right)))
