"""Chats by a tokenizer's template, which may ask for the date: it is told a fixed one."""

import re
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from jinja2 import TemplateError

from trainables.errors import UnlearningError
from trainables.examples import Example

_DATES = (date(2001, 2, 3), date(2034, 11, 27))
"""Two days that differ in everything a template may write of them, to find out whether it does."""
_RANDOM = re.compile(r"\|\s*random\b|\blipsum\s*\(")
"""What Jinja offers that gives another text each time, beside the clock."""


def chat_texts(tokenizer: Any, example: Example, *, chat_date: date | None) -> tuple[str, str]:
    """Return the question as the template writes it, up to where the answer starts, and the whole chat.

    Args:
        tokenizer: with a chat template.
        example: prompt and completion, which become the user's message and the assistant's.
        chat_date: what the template is told where it asks for the time (midnight of that day); None: the clock.

    Raises:
        UnlearningError: the template refuses the messages, or writes a question otherwise once it is answered.
    """
    clock = {} if chat_date is None else {"strftime_now": _fixed_clock(chat_date)}
    question = [{"role": "user", "content": example.prompt}]
    answer = {"role": "assistant", "content": example.completion}
    try:
        before: str = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True, **clock)
        whole: str = tokenizer.apply_chat_template([*question, answer], tokenize=False, **clock)
    except TemplateError as error:
        raise UnlearningError(
            f"model.chat_template: this tokenizer's template cannot write '{example.example_id}' as a chat ({error}); "
            f"leave chat_template out"
        ) from error
    if not whole.startswith(before):
        raise UnlearningError(
            f"model.chat_template: this tokenizer's template writes a question otherwise once it is answered, so that "
            f"the answer of '{example.example_id}' cannot be told from it; leave chat_template out"
        )
    return before, whole


def asks_for_the_date(tokenizer: Any) -> bool:
    """Return whether a chat reads otherwise on another day.

    Raises:
        UnlearningError: see ``chat_texts``.
    """
    probe = Example(example_id="probe", prompt="a", completion="b")
    first, second = (chat_texts(tokenizer, probe, chat_date=day) for day in _DATES)
    return first != second


def require_fixed_template(tokenizer: Any) -> None:
    """Refuse a template whose text follows from chance.

    Raises:
        UnlearningError: it uses Jinja's ``random`` or ``lipsum``.
    """
    found = _RANDOM.search(tokenizer.get_chat_template())
    if found is not None:
        raise UnlearningError(
            f"model.chat_template: this tokenizer's template draws at random ({found.group().strip()}), so that no two "
            f"readings of an example are the same; take that out of the template, or leave chat_template out"
        )


def _fixed_clock(day: date) -> Callable[[str], str]:
    midnight = datetime(day.year, day.month, day.day)  # the template's own clock has no zone either
    return midnight.strftime
