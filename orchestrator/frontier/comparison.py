"""Forget sets side by side at equal settings. Nothing else compares them: each has a best setting of its own."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.frontier.crossings import SettingCrossing
from orchestrator.frontier.summary import level_text
from orchestrator.frontier.sweep_frontiers import Frontier, Level
from orchestrator.ledger import OWN_KIND

MARGIN = 1.5
"""A set costs more than another only where it costs so many times as much: less may be within
what another processor changes, which trains another base model."""
NONE_SHARED = (
    "no setting was run on several forget sets, and at different settings they do not compare: run a grid "
    "(search.sampler: grid) to have them side by side"
)
"""Said where nothing is shared."""
QUANTITIES: Mapping[str, str] = {
    "steps": "steps",
    "performance": "lost on held-out data",
    "population_nll": "lost on its own kind, never seen",
    "distractor_nll": "lost on its own kind, retained",
}
"""What is compared, and its name for readers."""

SIDE_LABELS = {
    "reached": "seeds",
    "steps": "steps",
    "performance": "held-out",
    "population_nll": "never seen",
    "distractor_nll": "retained",
}
"""Rows of a setting where forget sets stand side by side: seeds that get there, and what is lost on which data."""


@dataclass(frozen=True, kw_only=True)
class SharedSetting:
    """One setting that several forget sets were unlearned with."""

    settings: str
    by_forget_set: Mapping[str, SettingCrossing]
    """In the order of the spec."""


def shared_settings(frontiers: Sequence[Frontier], measure: str) -> list[SharedSetting]:
    """List the settings that at least two forget sets were unlearned with, in the order of their words and numbers."""
    found: dict[str, dict[str, SettingCrossing]] = {}
    for frontier in frontiers:
        for setting in frontier.by_setting[measure]:
            found.setdefault(setting.setting_id, {})[frontier.forget_set] = setting
    shared = [
        SharedSetting(settings=next(iter(own.values())).settings, by_forget_set=own)
        for own in found.values()
        if len(own) > 1
    ]
    return sorted(shared, key=lambda setting: _natural(setting.settings))


def reached_by_some(shared: Sequence[SharedSetting]) -> list[SharedSetting]:
    """Keep the settings that end the exposure of at least one forget set: of the others there is nothing to show."""
    return [setting for setting in shared if any(own.reached for own in setting.by_forget_set.values())]


def quantity(setting: SettingCrossing, name: str) -> Level | None:
    """Return one of the ``QUANTITIES`` over a setting's seeds; None: not measured, or no trial ends the exposure."""
    return setting.steps if name == "steps" else setting.lost[name]


def quantities(shared: Sequence[SharedSetting]) -> list[str]:
    """List which of the ``QUANTITIES`` are known of any shared setting."""
    every = [own for setting in shared for own in setting.by_forget_set.values()]
    kept = [name for name in QUANTITIES if name not in OWN_KIND or any(quantity(own, name) for own in every)]
    return kept if every else []


def side_rows(shared: Sequence[SharedSetting]) -> list[str]:
    """List what is shown of a setting where forget sets stand side by side: keys of ``SIDE_LABELS``."""
    whole = all(own.whole for setting in shared for own in setting.by_forget_set.values())
    return [*([] if whole else ["reached"]), *quantities(shared)]


def side_cell(setting: SharedSetting, forget_set: str, what: str) -> str:
    """Write one of the ``side_rows`` of a forget set; ``-``: nothing is known."""
    own = setting.by_forget_set.get(forget_set)
    if own is None:
        return "-"
    if what == "reached":
        return f"{own.reached} of {own.trials}"
    return level_text(quantity(own, what), 1 if what == "steps" else 3, sign=what != "steps")


def orders(shared: Sequence[SharedSetting]) -> list[str]:
    """Say of each quantity and pair of forget sets which has more of it at every shared setting and seed, in sentences.

    A pair is compared at the settings at which every seed of both ends the exposure; where there is none, nothing is
    said of it. By less than ``MARGIN`` times, or where settings or seeds disagree, no order is claimed.
    """
    names = list(dict.fromkeys(name for setting in shared for name in setting.by_forget_set))
    sentences = []
    for what in quantities(shared):
        for left, right in itertools.combinations(names, 2):
            pairs = _pairs(shared, what, left, right)
            if not pairs:
                continue
            if said := _more(left, right, pairs) or _more(right, left, [(b, a) for a, b in pairs]):
                sentences.append(f"{QUANTITIES[what]}: {said}")
            else:
                sentences.append(f"{QUANTITIES[what]}: no order of {left} and {right} holds")
    return sentences


def orders_title(shared: Sequence[SharedSetting]) -> str:
    """Say what ``orders`` rest on."""
    compared = [s for s in shared if sum(own.whole for own in s.by_forget_set.values()) > 1]
    many = "the setting" if len(compared) == 1 else f"each of the {len(compared)} settings"
    return f"what holds at {many} at which all seeds of both get there, for every seed, by {MARGIN:g} times or more"


def _pairs(shared: Sequence[SharedSetting], what: str, left: str, right: str) -> list[tuple[Level, Level]]:
    found = []
    for setting in shared:
        both = [setting.by_forget_set.get(name) for name in (left, right)]
        levels = [quantity(own, what) for own in both if own is not None and own.whole]
        known = [level for level in levels if level is not None]
        if len(known) == len(both):
            found.append((known[0], known[1]))
    return found


def _more(more: str, less: str, pairs: Sequence[tuple[Level, Level]]) -> str:
    """Say that the first has more in every pair, and how many times; empty where it does not hold."""
    if not all(a.low > MARGIN * max(b.high, 0.0) for a, b in pairs):
        return ""
    if any(b.low <= 0 for _, b in pairs):
        return f"{more} more than {less}"
    return f"{more} more than {less}, {_range([a.mean / b.mean for a, b in pairs])} times"


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return low if low == high else f"{low} to {high}"


def _natural(text: str) -> list[tuple[bool, float, str]]:
    """Sort numbers in a text as numbers."""
    return [_key(word) for word in re.split(r"[ =]", text)]


def _key(word: str) -> tuple[bool, float, str]:
    try:
        return False, float(word), ""
    except ValueError:
        return True, 0.0, word
