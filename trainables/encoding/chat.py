"""Chats by a tokenizer's template, which may ask for the date: it is told a fixed one."""

import re
from datetime import date, datetime
from functools import cache
from typing import Any

from trainables.data import Example, shortened
from trainables.errors import UnlearningError

_DATES = (date(2001, 2, 3), date(2034, 11, 27))
"""Two days that differ in everything a template may write of them, to find out whether it does."""
_DIRECTIVES = [*"aAwdbBmyYHIpMSfzZjUWcxXGuVeDFTRhC", *(f"-{code}" for code in "dmHIMSjyUWVwue")]
"""Of strftime, without their ``%``: "%-d" is a day without its leading 0."""
_RANDOM = re.compile(r"\|\s*random\b|\blipsum\s*\(")
"""What Jinja offers that gives another text each time, beside the clock."""


def chat_texts(tokenizer: Any, example: Example, *, chat_date: date | None) -> tuple[str, str]:
    """Return the question as the template writes it, up to where the answer starts, and the whole chat.

    Args:
        tokenizer: with a chat template.
        example: prompt and completion, which become the user's message and the assistant's.
        chat_date: what the template is told where it asks for the time (midnight of that day); None: the clock.

    Raises:
        UnlearningError: the template refuses the messages, writes a question otherwise once it is answered, or leaves
            something of the answer out.
    """
    template = tokenizer.get_chat_template()
    told = {"chat_template": template if chat_date is None else _fixed_clock(chat_date) + template, "tokenize": False}
    question = [{"role": "user", "content": example.prompt}]
    answer = {"role": "assistant", "content": example.completion}
    try:
        before: str = tokenizer.apply_chat_template(question, add_generation_prompt=True, **told)
        full_tensor: str = tokenizer.apply_chat_template([*question, answer], **told)
    except Exception as error:  # whatever writing raises, the template given is its cause
        raise UnlearningError(
            f"model.chat_template: this tokenizer's template cannot write '{example.example_id}' as a chat ({error}); "
            f"leave chat_template out"
        ) from error
    if not full_tensor.startswith(before):
        raise UnlearningError(
            f"model.chat_template: this tokenizer's template writes a question otherwise once it is answered, so that "
            f"the answer of '{example.example_id}' cannot be told from it; leave chat_template out"
        )
    written = full_tensor[len(before) :]
    if _characters(example.completion) not in _characters(written):
        raise UnlearningError(
            f"model.chat_template: this tokenizer's template does not write the answer of '{example.example_id}' as it "
            f"is, but {shortened(written)} for {shortened(example.completion)}, so that something else would be "
            f"scored; leave chat_template out, or what the template takes away (such as a chain of thought) out of the "
            f"answer"
        )
    return before, full_tensor


def _characters(text: str) -> str:
    """Leave out white space, which templates trim."""
    return "".join(text.split())


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


@cache
def _fixed_clock(day: date) -> str:
    """Write a Jinja macro that stands before a template, in place of the clock that Transformers would hand to it.

    Transformers hands plain data alone to templates, and no function. The newline belongs to the macro's last tag.
    """
    midnight = datetime(day.year, day.month, day.day)  # the template's own clock has no zone either
    texts = {f"%{code}": midnight.strftime(f"%{code}") for code in _DIRECTIVES}
    return (
        "{%- macro strftime_now(format) -%}{%- for part in format.split('%%') -%}"
        "{%- set made = namespace(text=part) -%}"
        f"{{%- for code, text in {list(texts.items())!r} -%}}{{%- set made.text = made.text.replace(code, text) -%}}"
        "{%- endfor -%}{{ made.text }}{{ '' if loop.last else '%' }}{%- endfor -%}{%- endmacro %}\n"
    )
