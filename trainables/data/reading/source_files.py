"""The files of a source, their format, and opening them. Nothing is parsed here."""

import bz2
import codecs
import gzip
import lzma
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from trainables.config import SourceConfig, SourceFormat
from trainables.errors import UnlearningError, nearest_name_hint

_SUFFIXES: Mapping[str, SourceFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".csv": "csv",
    ".txt": "text",
    ".text": "text",
}
_COMPRESSIONS: Mapping[str, Callable[..., IO[Any]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_SAVED = ("dataset_dict.json", "state.json", "dataset_info.json")
"""Files of which ``save_to_disk`` writes at least one."""
_SHOWN = 5
"""Number of file names that a message lists."""
_BEGINNINGS = {
    codecs.BOM_UTF32_LE: "text in UTF-32",
    codecs.BOM_UTF32_BE: "text in UTF-32",
    codecs.BOM_UTF16_LE: "text in UTF-16",
    codecs.BOM_UTF16_BE: "text in UTF-16",
    b"\x1f\x8b": "compressed by gzip, which its name should say (.gz)",
    b"BZh": "compressed by bzip2, which its name should say (.bz2)",
    b"\xfd7zXZ\0": "compressed by xz, which its name should say (.xz)",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard; decompress it",
    b"PK\x03\x04": "a ZIP archive or a spreadsheet; unpack it, or save it as CSV in UTF-8",
    b"PAR1": "Parquet, which its name or its format should say",
}
"""What a file is, if it is not text in UTF-8, by its first bytes."""


@dataclass(frozen=True, kw_only=True)
class SourceFiles:
    """The files of a source, in the order in which they are read."""

    format: SourceFormat
    paths: tuple[Path, ...]
    """The files; for ``hf``, the folder."""
    is_folder: bool


def named(source: SourceConfig) -> str:
    """Return the name of a source for messages: its path or dataset, in quotes."""
    return f"'{source.path or source.dataset}'"


def what_to_give(source: SourceConfig) -> str:
    """Return advice, for messages, on what to give as a source."""
    if source.path is None:
        return "give a dataset's id on the Hugging Face hub that this machine can reach, and its name and split"
    return (
        f"give a path from {Path.cwd()} or an absolute one, seen by every machine that runs the sweep, and its format"
    )


def files_of(source: SourceConfig) -> SourceFiles:
    """Return the files of a source that has a path; of a folder, all files of one format but hidden ones.

    Raises:
        UnlearningError: there are none, their format is not known, or none belongs to ``split``.
    """
    assert source.path is not None
    path = Path(source.path)
    if not path.exists():
        raise UnlearningError(f"{named(source)} does not exist; {what_to_give(source)}")
    if not path.is_dir():
        return SourceFiles(format=_format_of_file(source, path), paths=(path,), is_folder=False)
    saved = any((path / name).exists() for name in _SAVED)
    if source.format == "hf" or (source.format is None and saved):
        return SourceFiles(format="hf", paths=(path,), is_folder=True)
    files, form = _in_folder(source, path)
    return SourceFiles(format=form, paths=tuple(_of_split(source, path, files)), is_folder=True)


def _format_of_file(source: SourceConfig, path: Path) -> SourceFormat:
    if source.split is not None:
        raise UnlearningError(
            f"{named(source)}: split: found {source.split!r}, but one file has no splits; leave 'split' out, or give "
            f"the folder that holds a file or a folder of each split"
        )
    if source.format == "hf":
        raise UnlearningError(
            f"{named(source)}: format: hf is a folder made by save_to_disk, and this is a file; leave 'format' out, or "
            f"set it to jsonl, parquet, csv or text"
        )
    found = source.format or _by_suffix(path)
    if found is None:
        raise UnlearningError(
            f"{named(source)}: no known format has the suffix '{path.suffix}'; set format to jsonl, parquet, csv, "
            f"text or hf, or use one of the suffixes {', '.join(_SUFFIXES)}, compressed also with "
            f"{', '.join(_COMPRESSIONS)}"
        )
    if found == "parquet" and path.suffix.lower() in _COMPRESSIONS:
        raise UnlearningError(
            f"{named(source)}: Parquet files that are compressed as a whole are not read, since their contents "
            f"are compressed already; decompress it"
        )
    return found


def _by_suffix(path: Path) -> SourceFormat | None:
    inner = Path(path.stem) if path.suffix.lower() in _COMPRESSIONS else path
    return _SUFFIXES.get(inner.suffix.lower())


def _in_folder(source: SourceConfig, path: Path) -> tuple[list[Path], SourceFormat]:
    visible = sorted(
        file
        for file in path.rglob("*")
        if not file.is_dir() and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    )
    formats = {file: form for file in visible if (form := _by_suffix(file)) is not None}
    counted = Counter(formats.values())
    if source.format is None and len(counted) > 1:
        found = ", ".join(f"{count} {form}" for form, count in counted.most_common())
        raise UnlearningError(f"{named(source)}: a folder with files of several formats ({found}); set format to one")
    wanted = source.format or next(iter(counted), None)
    files = [file for file, form in formats.items() if form == wanted]
    if wanted is None or not files:
        listed = _listed([str(file.relative_to(path)) for file in visible])
        raise UnlearningError(
            f"{named(source)} cannot be read: a folder with no {wanted or 'data'} file in it ({listed}), nor made by "
            f"save_to_disk; give a folder of files with one of the suffixes {', '.join(_SUFFIXES)}"
        )
    return files, wanted


def _of_split(source: SourceConfig, path: Path, files: list[Path]) -> list[Path]:
    """Return the files of the split: those in a folder of its name, or named like ``train-00000-of-00002.csv``."""
    if source.split is None:
        return files
    chosen = []
    for file in files:
        *folders, name = file.relative_to(path).parts
        if source.split in folders or re.match(rf"{re.escape(source.split)}([-_.]|$)", name):
            chosen.append(file)
    if not chosen:
        listed = _listed([str(file.relative_to(path)) for file in files])
        raise UnlearningError(
            f"{named(source)}: split: found {source.split!r}, but neither the name of a file nor its folder says so; "
            f"there are {listed}"
        )
    return chosen


def chosen_split(source: SourceConfig, splits: Mapping[str, Any]) -> Any:
    """Return the split that the source asks for; if it asks for none, the only one.

    Raises:
        UnlearningError: there is none of that name, or there are several and the source asks for none.
    """
    if source.split is None and len(splits) == 1:
        return next(iter(splits.values()))
    if source.split is None or source.split not in splits:
        hint = nearest_name_hint(source.split or "", splits)
        raise UnlearningError(f"{named(source)}: split: found {source.split!r}; {hint}")
    return splits[source.split]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}" if names else "it is empty"


@contextmanager
def opened_text(path: Path) -> Iterator[IO[bytes]]:
    """Open a text file as bytes, decompressed and after a byte order mark of UTF-8.

    Raises:
        UnlearningError: its first bytes show that it is not text in UTF-8.
    """
    opener = _COMPRESSIONS.get(path.suffix.lower(), Path.open)
    with cast(IO[bytes], opener(path, "rb")) as file:
        head = file.read(1024)
        _require_utf8(path, head)
        file.seek(len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0)
        yield file


def _require_utf8(path: Path, head: bytes) -> None:
    what = next((what for beginning, what in _BEGINNINGS.items() if head.startswith(beginning)), None)
    if what is None and head.count(0) * 4 > len(head):
        what = "text in UTF-16, or no text at all"
    if what is not None:
        encoded = "text in UTF-" in what
        advice = f"; write it as UTF-8, for example: iconv -f {what[8:14]} -t UTF-8" if encoded else ""
        raise UnlearningError(f"'{path}' is not text in UTF-8, but {what}{advice}")
