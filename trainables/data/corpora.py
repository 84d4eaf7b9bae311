"""The corpus that examples are drawn from: scripture, or a source of the user's own."""

from collections.abc import Callable, Sequence

import pythonbible
from pythonbible.verses import VERSE_IDS

from trainables.config import CorpusConfig, SourceConfig
from trainables.data.examples import Example, SelectableExamples
from trainables.deferred import Deferred

open_source: Callable[..., SelectableExamples] = Deferred("trainables.data.sources", "open_source")
"""See ``sources.open_source``. Hugging Face ``datasets`` is loaded only where there is a source to open."""


def load_corpus(config: CorpusConfig, *, encoder_decoder: bool = False) -> Sequence[Example]:
    """Return the distinct texts of the corpus in canonical order; the first of equal texts is kept.

    For an encoder-decoder model a verse of the King James Version is the source, and the same verse of the World
    English Bible the target: old English is rewritten as new.

    Raises:
        UnlearningError: a source cannot be read or used.
    """
    if isinstance(config.source, SourceConfig):
        examples = open_source(config.source, where="data.corpus.source", needs_prompt=encoder_decoder)
        if config.min_words is None and config.max_words is None:
            return examples
        return examples.where(lambda example: _is_within(config, example.completion))
    return _scripture(config, encoder_decoder=encoder_decoder)


def _is_within(config: CorpusConfig, text: str) -> bool:
    words = len(text.split())
    return (config.min_words or 0) <= words and (config.max_words is None or words <= config.max_words)


def _scripture(config: CorpusConfig, *, encoder_decoder: bool) -> list[Example]:
    seen: set[str] = set()
    examples = []
    for verse_id in VERSE_IDS:
        text = _verse(verse_id, pythonbible.Version.KING_JAMES)
        if not text or text in seen or not _is_within(config, text):
            continue
        if not encoder_decoder:
            examples.append(Example(example_id=f"kjv-{verse_id:08d}", prompt="", completion=text))
        elif target := _verse(verse_id, pythonbible.Version.WORLD_ENGLISH):
            examples.append(Example(example_id=f"kjv-web-{verse_id:08d}", prompt=text, completion=target))
        else:
            continue
        seen.add(text)
    return examples


def _verse(verse_id: int, version: pythonbible.Version) -> str:
    """Return the text of a verse; empty where the version lacks it, as most lack the deuterocanon."""
    try:
        text: str = pythonbible.get_verse_text(verse_id, version=version)
    except pythonbible.VersionMissingVerseError:
        return ""
    return text
