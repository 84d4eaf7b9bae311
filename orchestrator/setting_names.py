"""Settings of trials as tables show them: what tells them apart, short; what they share is said once."""

from collections.abc import Iterable

_PART = " · "
"""Between what belongs to the objective, the optimizer, the batch and the schedule in ``settings``."""
_OPTIMIZER = 1
"""Which part is the optimizer's: it stands in every name, so that none is empty."""


class SettingNames:
    """Short names of the settings of one view: without the words that all share, long numbers rounded.

    The optimizer and its learning rate always stand in a name. Two names may read alike where a search drew numbers
    that are nearly equal: a trial's id tells them apart.
    """

    def __init__(self, settings: Iterable[str]) -> None:
        words = [_words(text) for text in dict.fromkeys(settings)]
        shared = set(words[0]).intersection(*words[1:]) if words else set()
        self._shared = frozenset(
            word for word in shared if not word[1].startswith("lr=") and not _names_optimizer(word)
        )
        self.common = _joined([word for word in words[0] if word in self._shared]) if words else ""
        """What all settings share and no name says; empty: nothing."""

    def short(self, settings: str) -> str:
        """Return the name of one of the settings."""
        return _joined([word for word in _words(settings) if word not in self._shared])


def _words(settings: str) -> list[tuple[int, str, bool]]:
    """Split into (part, word, whether the word begins its part); a number of a batch stays with its name."""
    found = []
    for index, part in enumerate(settings.split(_PART)):
        pieces = part.replace("batch ", "batch=").split(" ")
        found += [(index, piece, position == 0) for position, piece in enumerate(pieces)]
    return found


def _names_optimizer(word: tuple[int, str, bool]) -> bool:
    part, _, first = word
    return part == _OPTIMIZER and first


def _joined(words: list[tuple[int, str, bool]]) -> str:
    return " ".join(_rounded(word).replace("batch=", "batch ") for _, word, _ in words)


def _rounded(word: str) -> str:
    """Round what a search drew; what a person wrote has few digits, and keeps them."""
    name, _, value = word.partition("=")
    try:
        exact = float(value)
    except ValueError:
        return word
    short = f"{exact:.4g}"
    return f"{name}={short if float(short) == exact else f'{exact:.2g}'}"
