"""Forget sets side by side at equal settings, the only fair comparison: each set has a best setting of its own."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.frontier.frontier import Frontier
from orchestrator.frontier.setting_crossings import SettingCrossing
from orchestrator.frontier.spreads import Spread
from orchestrator.frontier.summary.texts import spread_text
from orchestrator.ledger import OWN_KIND

MARGIN = 1.5
"""Factor from which on a set counts as costing more than another. A smaller one may come from another processor, which
trains a slightly different base model."""
NONE_SHARED = (
    "no setting was run on several forget sets, and at different settings they do not compare: run a grid "
    "(search.sampler: grid) to have them side by side"
)
"""Note for a sweep whose forget sets share no setting."""
QUANTITIES: Mapping[str, str] = {
    "steps": "steps",
    "performance": "lost on held-out data",
    "population_nll": "lost on its own kind, never seen",
    "distractor_nll": "lost on its own kind, retained",
}
"""Quantities that are compared, and their names for readers."""

SIDE_LABELS = {
    "reached": "seeds",
    "steps": "steps",
    "performance": "held-out",
    "population_nll": "never seen",
    "distractor_nll": "retained",
}
"""Row labels of a side-by-side table: seeds (or trials) that end the exposure, and what is lost on which data."""


@dataclass(frozen=True, kw_only=True)
class SharedSetting:
    """One setting that several forget sets were unlearned with."""

    settings: str
    by_forget_set: Mapping[str, SettingCrossing]
    """In the order of the spec."""


def shared_settings(frontiers: Sequence[Frontier], measure: str) -> list[SharedSetting]:
    """Return the settings that at least two forget sets were unlearned with, ordered by their words and numbers."""
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
    """Return the settings that end the exposure of at least one forget set. The others have nothing to show."""
    return [setting for setting in shared if any(own.reached for own in setting.by_forget_set.values())]


def quantity(setting: SettingCrossing, name: str) -> Spread | None:
    """Return one of the ``QUANTITIES`` over a setting's seeds; None: not measured, or no trial ends the exposure."""
    return setting.steps if name == "steps" else setting.lost[name]


def quantities(shared: Sequence[SharedSetting]) -> list[str]:
    """Return the ``QUANTITIES`` that are known of any shared setting."""
    every = [own for setting in shared for own in setting.by_forget_set.values()]
    kept = [name for name in QUANTITIES if name not in OWN_KIND or any(quantity(own, name) for own in every)]
    return kept if every else []


def side_rows(shared: Sequence[SharedSetting]) -> list[str]:
    """Return the rows of each setting in a side-by-side table: keys of ``SIDE_LABELS``."""
    all_reached = all(own.reached_by_all for setting in shared for own in setting.by_forget_set.values())
    return [*([] if all_reached else ["reached"]), *quantities(shared)]


def side_label(shared: Sequence[SharedSetting], what: str) -> str:
    """Return the label of one of the ``side_rows``: with several replicates, not seeds but trials are counted."""
    return "trials" if what == "reached" and _several(shared) else SIDE_LABELS[what]


def _several(shared: Sequence[SharedSetting]) -> bool:
    return any(own.replicates > 1 for setting in shared for own in setting.by_forget_set.values())


def side_cell(setting: SharedSetting, forget_set: str, what: str) -> str:
    """Return a cell of a side-by-side table as text: one of the ``side_rows`` of a forget set; ``-``: not known."""
    own = setting.by_forget_set.get(forget_set)
    if own is None:
        return "-"
    if what == "reached":
        return f"{own.reached} of {own.trials}"
    return spread_text(quantity(own, what), 1 if what == "steps" else 3, sign=what != "steps")


def orders(shared: Sequence[SharedSetting]) -> list[str]:
    """Return sentences on which forget set of each pair has more of each quantity, at every shared setting, seed and
    replicate.

    A pair is compared at the settings where every seed of both sets ends the exposure; without such a setting, the pair
    is left out. For less than ``MARGIN`` times, or if settings or seeds disagree, no order is claimed.
    """
    names = list(dict.fromkeys(name for setting in shared for name in setting.by_forget_set))
    sentences = []
    for what in quantities(shared):
        for left, right in itertools.combinations(names, 2):
            pairs = _pairs(shared, what, left, right)
            if not pairs:
                continue
            if order := _more(left, right, pairs) or _more(right, left, [(b, a) for a, b in pairs]):
                sentences.append(f"{QUANTITIES[what]}: {order}")
            else:
                sentences.append(f"{QUANTITIES[what]}: no order of {left} and {right} holds")
    return sentences


def orders_title(shared: Sequence[SharedSetting]) -> str:
    """Return a title for ``orders`` that says what they rest on."""
    compared = [s for s in shared if sum(own.reached_by_all for own in s.by_forget_set.values()) > 1]
    many = "the setting" if len(compared) == 1 else f"each of the {len(compared)} settings"
    unit = "trial" if _several(shared) else "seed"
    return f"what holds at {many} at which all {unit}s of both get there, for every {unit}, by {MARGIN:g} times or more"


def _pairs(shared: Sequence[SharedSetting], what: str, left: str, right: str) -> list[tuple[Spread, Spread]]:
    found = []
    for setting in shared:
        both = [setting.by_forget_set.get(name) for name in (left, right)]
        levels = [quantity(own, what) for own in both if own is not None and own.reached_by_all]
        known = [level for level in levels if level is not None]
        if len(known) == len(both):
            found.append((known[0], known[1]))
    return found


def _more(more: str, less: str, pairs: Sequence[tuple[Spread, Spread]]) -> str:
    """Return that the first has more in every pair, and how many times; empty: that does not hold."""
    if not all(a.low > MARGIN * max(b.high, 0.0) for a, b in pairs):
        return ""
    if any(b.low <= 0 for _, b in pairs):
        return f"{more} more than {less}"
    return f"{more} more than {less}, {_range([a.mean / b.mean for a, b in pairs])} times"


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return low if low == high else f"{low} to {high}"


def _natural(text: str) -> list[tuple[bool, float, str]]:
    """Return a sort key that orders numbers in a text as numbers."""
    return [_key(word) for word in re.split(r"[ =]", text)]


def _key(word: str) -> tuple[bool, float, str]:
    try:
        return False, float(word), ""
    except ValueError:
        return True, 0.0, word
