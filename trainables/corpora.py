"""Text in: an ``Example`` and the corpora that examples come from."""

from dataclasses import dataclass

import pythonbible
from pythonbible.verses import VERSE_IDS

from trainables.config import CorpusConfig


@dataclass(frozen=True, kw_only=True)
class Example:
    """One text. Only ``completion`` is scored and trained on; ``prompt`` may be empty."""

    example_id: str
    prompt: str
    completion: str

    @property
    def text(self) -> str:
        """Prompt and completion as one string."""
        return self.prompt + self.completion


def load_corpus(config: CorpusConfig) -> list[Example]:
    """List the corpus's distinct texts in canonical order (the first of equal texts is kept)."""
    version = pythonbible.Version.KING_JAMES
    seen: set[str] = set()
    examples = []
    for verse_id in VERSE_IDS:
        try:
            text = pythonbible.get_verse_text(verse_id, version=version)
        except pythonbible.VersionMissingVerseError:
            continue  # verses of the deuterocanon that this version does not have
        if not text or text in seen or not config.min_words <= len(text.split()) <= config.max_words:
            continue
        seen.add(text)
        examples.append(Example(example_id=f"kjv-{verse_id:08d}", prompt="", completion=text))
    return examples
