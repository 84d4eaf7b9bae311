"""Examples of users' sources, which are read from the cached table of a source when they are needed.

All problems of a source are reported together, each with its line or row. ``reading`` reads the rows, and
``source_tables`` caches them.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset

from trainables.config import Role, SourceConfig
from trainables.data.examples import Example, SelectableExamples
from trainables.data.reading.row_texts import Columns
from trainables.data.reading.source_files import named
from trainables.data.reading.source_rows import column_names
from trainables.data.source_tables import Indices, checked_table, chunks, content_of, list_lengths, number_column
from trainables.errors import DataWarning, UnlearningError, nearest_name_hint

_SHOWN = 5
"""Number of problems that an error lists."""
_CHUNK = 1000
"""Number of rows that are decoded together in a pass over a source."""


@dataclass(frozen=True, eq=False)
class SourceExamples(SelectableExamples):
    """Examples of a source: a selection in any order, which takes 8 bytes of memory for each, or all of them."""

    source: SourceConfig
    columns: Columns
    needs_prompt: bool
    content: str
    """SHA-256 of all rows, to notice that the source has changed or differs on another machine."""
    chosen: Indices | None = None
    """Rows of the table, counted from 0; None: all of them."""

    @cached_property
    def table(self) -> Dataset:
        """The source's table.

        Raises:
            UnlearningError: the source cannot be read, or has changed.
        """
        table = checked_table(self.source, self.columns, needs_prompt=self.needs_prompt)
        if content_of(table) != self.content:
            raise UnlearningError(
                f"{named(self.source)} has changed since it was first read, or is another file on this machine; give "
                f"every machine the same file, and do not change it while the sweep runs"
            )
        return table

    def __reduce__(self) -> tuple[Any, ...]:
        return SourceExamples, (self.source, self.columns, self.needs_prompt, self.content, self.chosen)

    def select(self, indices: Indices) -> "SourceExamples":
        """See ``SelectableExamples``."""
        chosen = indices if self.chosen is None else self.chosen[indices]
        some = replace(self, chosen=chosen)
        some.__dict__["table"] = self.table  # it is open already
        return some

    def where(self, keep: Callable[[Example], bool]) -> "SourceExamples":
        """See ``SelectableExamples``."""
        return self.select(np.flatnonzero([keep(example) for example in self]))

    def _slice(self, indices: range) -> "SourceExamples":
        return self.select(np.arange(indices.start, indices.stop, indices.step))

    def __len__(self) -> int:
        return len(self.table) if self.chosen is None else len(self.chosen)

    def _read(self, index: int) -> Example:
        return self._example(self.table[int(index if self.chosen is None else self.chosen[index])])

    def __iter__(self) -> Iterator[Example]:
        for start in range(0, len(self), _CHUNK):
            stop = min(start + _CHUNK, len(self))
            rows: Any = slice(start, stop) if self.chosen is None else self.chosen[start:stop]
            batch = self.table[rows]
            for index in range(stop - start):
                yield self._example({name: values[index] for name, values in batch.items()})

    def _example(self, row: Mapping[str, Any]) -> Example:
        return Example(
            example_id=f"{label(self.source)}:{row['number']}",
            prompt=row["prompt"],
            completion=row["completion"],
            alternate=row["alternate"],
            paraphrase=row["paraphrase"],
            perturbed=tuple(row["perturbed"] or ()),
            other_prompts=tuple(row["other_prompts"] or ()),
        )

    def identity(self) -> dict[str, Any]:
        """Return a hash of the source, and one of which examples were chosen."""
        chosen = None if self.chosen is None else hashlib.sha256(self.chosen.tobytes()).hexdigest()
        return {"name": label(self.source), "content": self.content, "chosen": chosen}

    def with_text_keys(self, keys: Sequence[int]) -> "SourceExamples":
        """See ``SelectableExamples``."""
        return self.select(
            np.flatnonzero(np.isin(_chosen(number_column(self.table, "text_key"), self.chosen), list(keys)))
        )


def label(source: SourceConfig) -> str:
    """Return the name of a source in the ids of its examples: line 12 of ``forget.jsonl`` is ``forget.jsonl:12``."""
    return Path(source.path).name if source.path is not None else str(source.dataset)


def open_source(source: SourceConfig, *, where: str, needs_prompt: bool = False) -> SourceExamples:
    """Return the usable examples of a source, which is read and checked unless it is cached.

    Args:
        source: where it is, and what its columns are.
        where: its spec key, for messages.
        needs_prompt: whether examples without a prompt are unusable.

    Raises:
        UnlearningError: the source cannot be read, lacks a column, is empty, or has rows that cannot be used.
    """
    with _naming_setting(where):
        columns = _find_columns(source)
        table = checked_table(source, columns, needs_prompt=needs_prompt)
        problems = _problems(table, columns)
        if problems:
            _report(source, problems, where)
        if len(problems) == len(table):
            raise UnlearningError(f"{named(source)} has no example that can be used")
    examples = SourceExamples(source, columns, needs_prompt, content_of(table))
    examples.__dict__["table"] = table
    return examples.select(np.delete(np.arange(len(table)), list(problems))) if problems else examples


@contextmanager
def _naming_setting(where: str) -> Iterator[None]:
    try:
        yield
    except UnlearningError as error:
        raise UnlearningError(f"{where}: {error}") from error.__cause__


def _find_columns(source: SourceConfig) -> Columns:
    """Return the columns of a source by role. Prompts and alternates may first occur after the first row."""
    given, found = source.columns, column_names(source)
    if found is None:
        return {}  # each row has a problem, which says why
    for role, column in given.items():
        if column not in found:
            raise UnlearningError(
                f"{named(source)} has no column '{column}' ({role}); {nearest_name_hint(column, found)}"
            )
    ways: list[tuple[Role | None, Role]] = [("prompt", "completion"), ("source", "target"), (None, "text")]
    meant = [way for way in ways if set(way) & set(given)] or ways
    if "choices" in given:
        prompt: Role = "source" if "source" in given else "prompt"
        return {"choices": given["choices"], "correct": given["correct"], **_others(given, prompt)}
    for asked, completion in meant:
        target = given.get(completion, completion)
        if target in found:
            return {"completion": target, **_others(given, asked, "perturbed")}
    raise UnlearningError(
        f"{named(source)} has no column 'completion', 'target' or 'text', but {', '.join(map(repr, found))}; say which "
        f"of them is what, for example columns: {{completion: {found[-1] if found else '...'}}}"
    )


def _others(given: Mapping[Role, str], prompt: Role | None, *more: Role) -> Columns:
    """Return the columns, by role, that rows may have besides the completion."""
    own: list[Role] = ["alternate", "paraphrase", *more]
    if prompt is not None:
        own.append("other_prompts")
    names: dict[Role, Role | None] = {"prompt": prompt, **{role: role for role in own}}
    return {role: given.get(name, name) for role, name in names.items() if name is not None}


def _problems(table: Dataset, columns: Columns) -> dict[int, str]:
    """Return the rows that cannot be used, in order, each with its line and the reason."""
    found: dict[int, str] = {}
    for start, chunk in chunks(table, "problem"):
        if chunk.null_count < len(chunk):
            found |= {start + i: problem for i, problem in enumerate(chunk.to_pylist()) if problem is not None}
    good = np.delete(np.arange(len(table)), list(found)) if found else None
    first: dict[int, int] = {}
    keys = _chosen(number_column(table, "text_key"), good)
    for place in _repeated(keys):
        row = int(place if good is None else good[place])
        earlier = first.setdefault(int(keys[place]), row)
        if earlier != row:
            found[row] = f"the same text as {table[earlier]['number']}"
    found |= _unlike_most(table, columns, np.delete(np.arange(len(table)), list(found)))
    return {row: f"{table[row]['number']}: {found[row]}" for row in sorted(found)}


def _unlike_most(table: Dataset, columns: Columns, rows: Indices) -> dict[int, str]:
    """Return those of ``rows`` that lack a paraphrase or wrong answers that others have, or have another number of
    wrong answers than most."""
    found: dict[int, str] = {}
    paraphrased = _chosen(list_lengths(table, "paraphrase") > 0, rows)
    if paraphrased.any():
        lacking = rows[~paraphrased]
        found |= dict.fromkeys(lacking.tolist(), f"no '{columns['paraphrase']}', which other rows have")
    counts = _chosen(list_lengths(table, "perturbed"), rows)
    if len(counts) and counts.min() != counts.max():
        usual = int(np.bincount(counts[counts > 0]).argmax())
        name, more = (columns["choices"], 1) if "choices" in columns else (columns["perturbed"], 0)
        for row, count in zip(rows.tolist(), counts.tolist(), strict=True):
            if count != usual:
                found.setdefault(row, f"{count + more} texts in '{name}', where most rows have {usual + more}")
    return found


def _repeated(keys: Indices) -> Indices:
    """Return the positions of all keys that occur more than once. It takes twice the memory of the keys."""
    ordered = np.sort(keys)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    return np.flatnonzero(np.isin(keys, twice)) if len(twice) else np.array([], dtype=np.int64)


def _report(source: SourceConfig, problems: Mapping[int, str], where: str) -> None:
    listed = [f"\n  {label(source)}:{problem}" for problem in list(problems.values())[:_SHOWN]]
    if len(problems) > _SHOWN:
        listed.append(f"\n  ... and {len(problems) - _SHOWN} more")
    what = f"{named(source)}: {len(problems)} row{'s' * (len(problems) != 1)} cannot be used:{''.join(listed)}"
    if source.on_bad == "refuse":
        raise UnlearningError(f"{what}\nrepair them, or set on_bad: skip to leave them out")
    warnings.warn(f"{where}: {what}\nleft out (on_bad: skip)", DataWarning, stacklevel=3)


def _chosen(values: npt.NDArray[Any], chosen: Indices | None) -> npt.NDArray[Any]:
    return values if chosen is None else values[chosen]
