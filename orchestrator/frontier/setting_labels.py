"""Settings of trials as tables show them: what tells them apart, short; what they share is said once."""

from collections.abc import Iterable

_PART = " · "
"""Between what belongs to the objective, the optimizer, the batch and the schedule in ``settings``."""
_OPTIMIZER = 1
"""Which part is the optimizer's."""
_RATE = "lr="

Part = tuple[int, str]
"""A part of a setting, by its place and by what it is of: ``(1, "sgd")``, ``(2, "batch 16")``."""


class SettingNames:
    """Short names of the settings of one view, with numbers rounded that a search drew.

    A name leaves out what all settings share, and what all settings of its objective or optimizer share: ``common``
    says that once. The optimizer and its learning rate always stand in a name. Two names may read alike where a search
    drew numbers that are nearly equal: a trial's id tells them apart.
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
        """Return the name of one of the settings."""
        words: list[str] = []
        for part, own in _parts(settings).items():
            words += [] if part in self._shared else [part[1]]
            words += [word for word in own if word not in self._left_out.get(part, [])]
        return " ".join(map(_rounded, words))


def _parts(settings: str) -> dict[Part, list[str]]:
    """Split settings into parts, each with the words that follow what it is of."""
    found = {}
    for place, text in enumerate(settings.split(_PART)):
        head, *words = text.split(" ")
        if head == "batch" and words:
            head, *words = f"{head} {words[0]}", *words[1:]
        found[place, head] = words
    return found


def _rounded(word: str) -> str:
    """Round what a search drew; what a person wrote has few digits, and keeps them."""
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
