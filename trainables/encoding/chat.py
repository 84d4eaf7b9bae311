"""Chats in the format of a tokenizer's chat template. A template that prints the current date gets a fixed one."""

import re
from datetime import date, datetime
from functools import cache
from typing import Any

from trainables.data import Example, shortened
from trainables.errors import UnlearningError

_DATES = (date(2001, 2, 3), date(2034, 11, 27))
"""Two days that differ in everything that a template may print of a date, to find out whether it prints it."""
_DIRECTIVES = [*"aAwdbBmyYHIpMSfzZjUWcxXGuVeDFTRhC", *(f"-{code}" for code in "dmHIMSjyUWVwue")]
"""Format codes of strftime without their ``%``: "%-d" is a day without its leading 0."""
_RANDOM = re.compile(r"\|\s*random\b|\blipsum\s*\(")
"""Functions of Jinja whose text is random."""


def chat_texts(tokenizer: Any, example: Example, *, chat_date: date | None) -> tuple[str, str]:
    """Return the chat up to where the answer starts, and the whole chat, as the template formats it.

    Args:
        tokenizer: with a chat template.
        example: prompt and completion, which become the user's message and the assistant's.
        chat_date: the date (at midnight) that the template gets where it asks for the time; None: the clock's.

    Raises:
        UnlearningError: the template refuses the messages, formats a question differently once it is answered, or
            leaves out a part of the answer.
    """
    template = tokenizer.get_chat_template()
    options = {
        "chat_template": template if chat_date is None else _fixed_clock(chat_date) + template,
        "tokenize": False,
    }
    question = [{"role": "user", "content": example.prompt}]
    answer = {"role": "assistant", "content": example.completion}
    try:
        before: str = tokenizer.apply_chat_template(question, add_generation_prompt=True, **options)
        whole: str = tokenizer.apply_chat_template([*question, answer], **options)
    except Exception as error:  # whatever it raises, the template is its cause
        raise UnlearningError(
            f"model.chat_template: this tokenizer's template cannot format '{example.example_id}' as a chat ({error}); "
            f"leave chat_template out"
        ) from error
    if not whole.startswith(before):
        raise UnlearningError(
            f"model.chat_template: this tokenizer's template formats a question differently once it is "
            f"answered, so that the answer of '{example.example_id}' cannot be located; leave chat_template out"
        )
    written = whole[len(before) :]
    if _characters(example.completion) not in _characters(written):
        raise UnlearningError(
            f"model.chat_template: this tokenizer's template changes the answer of '{example.example_id}': it writes "
            f"{shortened(written)} for {shortened(example.completion)}, so that another text would be scored; leave "
            f"chat_template out, or remove from the answer what the template removes (such as a chain of thought)"
        )
    return before, whole


def _characters(text: str) -> str:
    """Return a text without white space, which templates trim."""
    return "".join(text.split())


def asks_for_the_date(tokenizer: Any) -> bool:
    """Return whether the text of a chat depends on the date.

    Raises:
        UnlearningError: see ``chat_texts``.
    """
    probe = Example(example_id="probe", prompt="a", completion="b")
    first, second = (chat_texts(tokenizer, probe, chat_date=day) for day in _DATES)
    return first != second


def require_fixed_template(tokenizer: Any) -> None:
    """Refuse a template whose text is random.

    Raises:
        UnlearningError: the template uses Jinja's ``random`` or ``lipsum``.
    """
    found = _RANDOM.search(tokenizer.get_chat_template())
    if found is not None:
        raise UnlearningError(
            f"model.chat_template: this tokenizer's template draws at random ({found.group().strip()}), so that an "
            f"example has another text each time; remove that from the template, or leave chat_template out"
        )


@cache
def _fixed_clock(day: date) -> str:
    """Return a Jinja macro, to be put before a template, that replaces the clock which Transformers offers to it.

    It is a macro because Transformers passes only plain data to templates, no functions. The newline belongs to the
    macro's last tag.
    """
    midnight = datetime(day.year, day.month, day.day)  # without a time zone, like the clock of Transformers
    texts = {f"%{code}": midnight.strftime(f"%{code}") for code in _DIRECTIVES}
    return (
        "{%- macro strftime_now(format) -%}{%- for part in format.split('%%') -%}"
        "{%- set made = namespace(text=part) -%}"
        f"{{%- for code, text in {list(texts.items())!r} -%}}{{%- set made.text = made.text.replace(code, text) -%}}"
        "{%- endfor -%}{{ made.text }}{{ '' if loop.last else '%' }}{%- endfor -%}{%- endmacro %}\n"
    )
