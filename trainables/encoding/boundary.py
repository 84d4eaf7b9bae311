"""Where the target begins among the tokens of a whole text.

A tokenizer is not a concatenation: the tokens of "a b" need not be those of "a" and of " b". So a text is tokenized
once, as Transformers does for training, and its tokens are then told apart by the characters that they stand for.
"""

from collections.abc import Sequence
from typing import Any

Tokens = list[int]


def special_tokens_around(tokenizer: Any) -> tuple[Tokens, Tokens]:
    """Return the ids that the tokenizer itself puts before and after a text, such as BOS, ``[CLS]`` and ``[SEP]``."""
    plain = tokenizer.encode("a", add_special_tokens=False)
    full_tensor = tokenizer.encode("a", add_special_tokens=True)
    for start in range(len(full_tensor) - len(plain) + 1):
        if full_tensor[start : start + len(plain)] == plain:
            return full_tensor[:start], full_tensor[start + len(plain) :]
    return [], []


def leading_tokens(tokenizer: Any) -> Tokens:
    """Return the ids that stand before every text: those that the tokenizer puts there, or else its BOS token.

    They are what the first token of a text without prompt is predicted from. Empty where the tokenizer has neither.
    """
    before, _ = special_tokens_around(tokenizer)
    if before or tokenizer.bos_token_id is None:
        return before
    return [tokenizer.bos_token_id]


def cut(tokenizer: Any, text: str, *, at: int) -> tuple[Tokens, Tokens]:
    """Tokenize ``text`` once, without special tokens, and return the tokens of what is given and of the target.

    The target starts with the first token that holds a character at or after ``at``. A token that straddles the
    boundary is therefore a target, with the last characters of the prompt in it. White space that a tokenizer leaves
    out of a token's span belongs to no token. A character that takes several tokens (byte fallback) is never split.

    A tokenizer that cannot tell which characters a token stands for (not a "fast" one) is asked for the tokens of the
    prompt alone: the target starts where the two sequences first differ. That is at such a token or before it, unless
    it is the unknown token, which looks alike in both.

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
    """Count the tokens with which both sequences begin."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((index for index, (one, other) in pairs if one != other), min(len(left), len(right)))
