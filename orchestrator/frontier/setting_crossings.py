"""Crossings summarized over the seeds and replicates of each setting, and the best setting of each method."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from orchestrator.frontier.bootstrap import Interval, resampled, seed_interval
from orchestrator.frontier.crossings import PRICE_COLUMNS, TRIAL_COLUMNS, Crossing
from orchestrator.frontier.spreads import Spread, spread_of
from orchestrator.frontier.trial_rows import method_of, setting_id_of, settings_of
from orchestrator.pareto import Numbers


@dataclass(frozen=True, kw_only=True)
class SettingCrossing:
    """Where one setting ends an exposure of one forget set: spreads over its trials, one a seed and replicate.

    Spreads are of the trials that end the exposure, and None if none does.
    """

    setting_id: str
    settings: str
    trials: int
    replicates: int
    """Number of replicates that the trials are of."""
    reached: int
    """Number of trials that end the exposure."""
    steps: Spread | None
    unlearning_quality: Spread | None
    """See ``Crossing``."""
    performance: Spread | None
    lost: Mapping[str, Spread | None]
    """Increase over the base model by price column, nats per token; None: not measured."""

    @property
    def reached_by_all(self) -> bool:
        """Whether every trial ends the exposure, so that means over them leave out none."""
        return self.reached == self.trials > 0


def crossings_by_setting(evaluations: pa.Table, crossings: Sequence[Crossing]) -> list[SettingCrossing]:
    """Return the crossings of each setting, summarized over seeds and replicates, the best setting first.

    Settings whose trials all end the exposure come first, by the mean performance lost; then settings of which some
    trials do, and settings of which none does.

    Args:
        evaluations: rows of every trial, including trials that never cross.
        crossings: crossings of these trials, by one measure.
    """
    trials = evaluations.group_by(list(TRIAL_COLUMNS)).aggregate([]).to_pylist()
    counts = Counter(setting_id_of(row) for row in trials)
    names = {setting_id_of(row): settings_of(row) for row in trials}
    own: dict[str, list[Crossing]] = {setting_id: [] for setting_id in names}
    for crossing in crossings:
        own[crossing.setting_id].append(crossing)
    found = [
        SettingCrossing(
            setting_id=setting_id,
            settings=names[setting_id],
            trials=counts[setting_id],
            replicates=len({row["replicate"] for row in trials if setting_id_of(row) == setting_id}),
            reached=len(group),
            steps=spread_of([crossing.steps for crossing in group]),
            unlearning_quality=spread_of([crossing.unlearning_quality for crossing in group]),
            performance=spread_of([crossing.performance for crossing in group]),
            lost={name: spread_of([crossing.price(name) for crossing in group]) for name in PRICE_COLUMNS},
        )
        for setting_id, group in own.items()
    ]
    return sorted(found, key=_best_first)


def steps_by_method(
    crossings: Sequence[Crossing], by_setting: Sequence[SettingCrossing]
) -> dict[str, tuple[float, Interval | None]]:
    """Return the median steps of each method's best setting, over its trials that end the exposure, and their interval.

    Steps of different learning rates are not a sample of one distribution, so one setting stands for its method. The
    interval is a bootstrap over the seeds of these trials, or over their replicates if there are several; None: there
    is one, or all get there at the same step.

    Args:
        crossings: crossings of the trials of one forget set, by one measure.
        by_setting: the same by setting, the best first. A method without any crossing is left out.
    """
    own: dict[str, list[Crossing]] = {}
    for crossing in crossings:
        own.setdefault(crossing.setting_id, []).append(crossing)
    best: dict[str, list[Crossing]] = {}
    for setting in by_setting:
        if setting.reached:
            group = own[setting.setting_id]
            best.setdefault(method_of(vars(group[0])), group)
    found = {}
    for method, group in sorted(best.items()):
        over = resampled([crossing.replicate for crossing in group])
        by_unit: dict[int, list[float]] = {}
        for crossing in sorted(group, key=lambda crossing: (crossing.replicate, crossing.seed)):
            unit = crossing.replicate if over == "replicates" else crossing.seed
            by_unit.setdefault(unit, []).append(crossing.steps)
        steps_S = [np.array(steps) for steps in by_unit.values()]
        found[method] = _median(steps_S), seed_interval(steps_S, _median, over=over)
    return found


def _median(groups: Sequence[Numbers]) -> float:
    return float(np.median(np.concatenate(groups)))


def _best_first(setting: SettingCrossing) -> tuple[bool, float, str]:
    mean = math.inf if setting.performance is None else setting.performance.mean
    return not setting.reached_by_all, mean, setting.settings
