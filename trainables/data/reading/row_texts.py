"""The texts of one row of a source: prompt, completion, and the other answers that its columns hold."""

import json
from dataclasses import dataclass
from typing import Any

from trainables.config import SourceConfig
from trainables.data.reading.text_rows import Row
from trainables.errors import nearest_name_hint

Columns = dict[str, str]
"""Names of columns by role: ``completion``, or ``choices`` and ``correct``; and others where they exist."""


class UnusableRowError(ValueError):
    """A row cannot be used; the message says why."""


@dataclass(frozen=True, kw_only=True)
class RowTexts:
    """The texts of an example, in the formats that its source asks for."""

    prompt: str
    completion: str
    alternate: str | None
    paraphrase: str | None
    perturbed: tuple[str, ...] | None
    """Wrong answers; None: the row has none."""
    other_prompts: tuple[str, ...]
    """The prompt in other words."""


def texts_of(row: Row, columns: Columns, source: SourceConfig, *, needs_prompt: bool) -> RowTexts:
    """Return the texts of a row.

    Args:
        row: one that could be read.
        columns: the names of its columns by role.
        source: the formats of prompts and answers.
        needs_prompt: whether an example without a prompt is unusable.

    Raises:
        UnusableRowError: a text is missing, empty or of another type.
    """
    perturbed: tuple[str, ...] | None
    if "choices" in columns:
        completion, perturbed = _chosen(row, columns)
    else:
        completion = _text(row, columns["completion"], required=True)
        perturbed = _list(row, columns["perturbed"]) if "perturbed" in columns else None
    others = [role for role in ("prompt", "alternate", "paraphrase") if role in columns]
    texts: dict[str, str] = {role: _text(row, columns[role]) for role in others}
    if not completion.strip():
        raise UnusableRowError("the target is empty")
    prompt = texts.get("prompt", "")
    if needs_prompt and not prompt.strip():
        raise UnusableRowError("it has no prompt (source), which an encoder-decoder model reads")

    def answer(text: str) -> str:
        return source.completion_format.replace("{}", text)

    def asked(text: str) -> str:
        return source.prompt_format.replace("{}", text)

    return RowTexts(
        prompt=asked(prompt) if prompt else "",
        completion=answer(completion),
        alternate=answer(texts["alternate"]) if texts.get("alternate") else None,
        paraphrase=answer(texts["paraphrase"]) if texts.get("paraphrase", "").strip() else None,
        perturbed=None if perturbed is None else tuple(map(answer, perturbed)),
        other_prompts=tuple(map(asked, _other_prompts(row, columns))),
    )


def _text(row: Row, column: str, *, required: bool = False) -> str:
    """Return the text of a field; empty where there is none and it is not required."""
    value = _value(row, column, required=required)
    return "" if value is None else _checked(value, f"'{column}'")


def _value(row: Row, column: str, *, required: bool = False) -> Any:
    if column not in row.fields and required:
        raise UnusableRowError(f"no '{column}'; {nearest_name_hint(column, [*row.fields, *row.unread])}")
    return row.fields.get(column)


def _checked(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise UnusableRowError(f"{where} is no text, but {type(value).__name__}: {str(value)[:40]}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UnusableRowError(f"{where} holds half a character (a lone surrogate)") from None
    return value


def _list(row: Row, column: str, *, required: bool = False) -> tuple[str, ...] | None:
    """Return the texts of a field: a list of them, or JSON text of one, as in CSV; None where there are none."""
    value = _value(row, column, required=required)
    if isinstance(value, str) and value.strip():
        value = _parsed(value, column)
    if value is None or (isinstance(value, str | list) and not value):
        return None
    if not isinstance(value, list):
        raise UnusableRowError(
            f"'{column}' is no list of texts, but {type(value).__name__}: {str(value)[:40]}; give a list, which in CSV "
            f'is JSON text: ["one", "two"]'
        )
    for number, text in enumerate(value, start=1):
        if not _checked(text, f"text {number} of '{column}'").strip():
            raise UnusableRowError(f"text {number} of '{column}' is empty")
    return tuple(value)


def _other_prompts(row: Row, columns: Columns) -> tuple[str, ...]:
    """Return the other prompts of a row: those of a list, or the one text that the field holds."""
    if "other_prompts" not in columns:
        return ()
    value = _value(row, columns["other_prompts"], required=False)
    if isinstance(value, str) and value.strip() and not value.lstrip().startswith("["):
        return (_checked(value, f"'{columns['other_prompts']}'"),)
    return _list(row, columns["other_prompts"]) or ()


def _parsed(text: str, column: str) -> Any:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = text
    if found is not None and not isinstance(found, list):
        raise UnusableRowError(
            f"'{column}' is no list of texts, but the text {text[:40]!r}; give a list, which in CSV is JSON text: "
            f'["one", "two"]'
        )
    return found


def _chosen(row: Row, columns: Columns) -> tuple[str, tuple[str, ...]]:
    """Return the correct choice, and the others in their order."""
    choices, number = _list(row, columns["choices"], required=True), _value(row, columns["correct"], required=True)
    if choices is None or len(choices) < 2:
        raise UnusableRowError(f"'{columns['choices']}' has {len(choices or ())} texts; a choice needs two or more")
    index = int(number) if isinstance(number, str) and number.strip().isdecimal() else number
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(choices):
        raise UnusableRowError(
            f"'{columns['correct']}' is {str(number)[:40]!r}; give the number of the correct one of "
            f"'{columns['choices']}', counted from 0 (0 to {len(choices) - 1})"
        )
    return choices[index], (*choices[:index], *choices[index + 1 :])
