"""Short names of settings for tables: they hold what differs, and what all settings share is stated once."""

from collections.abc import Iterable

_PART = " · "
"""Separator of the parts of ``settings``: objective, optimizer, batch and schedule."""
_OPTIMIZER = 1
"""Index of the optimizer's part."""
_RATE = "lr="

Part = tuple[int, str]
"""Index and head of a part of a setting: ``(1, "sgd")``, ``(2, "batch 16")``."""


class SettingNames:
    """Short names of the settings of one view. Numbers that a search drew are rounded.

    A name leaves out what all settings share, and what all settings of its objective or optimizer share: ``common``
    states that once. A name always has the optimizer and its learning rate. Two names may be equal if a search drew
    nearly equal numbers: a trial's id tells them apart.
    """

    def __init__(self, settings: Iterable[str]) -> None:
        every = [_parts(text) for text in dict.fromkeys(settings)]
        known = dict.fromkeys(part for parts in every for part in parts)
        self._left_out = {
            part: [
                word
                for word in next(parts[part] for parts in every if part in parts)
                if not word.startswith(_RATE) and all(word in parts[part] for parts in every if part in parts)
            ]
            for part in known
        }
        self._shared = frozenset(
            part for part in known if part[0] != _OPTIMIZER and all(part in parts for parts in every)
        )
        self.common = _PART.join(
            " ".join(map(_rounded, [head, *self._left_out[place, head]]))
            for place, head in known
            if (place, head) in self._shared or self._left_out[place, head]
        )
        """What names leave out, such as ``gradient_ascent · sgd clip_norm=1 · batch 16``; empty: nothing."""

    def short(self, settings: str) -> str:
        """Return the short name of one of the settings."""
        words: list[str] = []
        for part, own in _parts(settings).items():
            words += [] if part in self._shared else [part[1]]
            words += [word for word in own if word not in self._left_out.get(part, [])]
        return " ".join(map(_rounded, words))


def _parts(settings: str) -> dict[Part, list[str]]:
    """Return the parts of settings, each with the words that follow its head."""
    found = {}
    for place, text in enumerate(settings.split(_PART)):
        head, *words = text.split(" ")
        if head == "batch" and words:
            head, *words = f"{head} {words[0]}", *words[1:]
        found[place, head] = words
    return found


def _rounded(word: str) -> str:
    """Return a word with its number rounded. A number that a person wrote has few digits, and keeps them."""
    name, _, value = word.partition("=")
    try:
        exact = float(value)
    except ValueError:
        return word
    digits = 4 if float(f"{exact:.4g}") == exact else 2
    plain = f"{exact:.{digits}g}"
    mantissa, _, exponent = f"{exact:.{digits - 1}e}".partition("e")
    compact = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{name}={min(plain, compact, key=len)}"
