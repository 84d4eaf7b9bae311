"""Where trials end an exposure: the step at which its mean first comes down to what no exposure reads."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from orchestrator.frontier.bootstrap import Interval, seed_interval
from orchestrator.frontier.levels import Level, Row, level_of
from orchestrator.ledger import OWN_KIND
from orchestrator.pareto import Numbers
from trainables.metrics import EXPECTED_RELATIVE_EXPOSURE_BITS

UNEXPOSED = {"gen_ex": 0.0, "rel_ex": EXPECTED_RELATIVE_EXPOSURE_BITS}
"""What each measure of mean exposure reads where the model never saw the forget set, in bits."""

PRICES = ("performance", *OWN_KIND)
"""What unlearning costs, in nats per token: on held-out data of the training distribution, and on data of the forget
set's own kind, never trained and retained."""

IDENTITY = ("trial_id", "objective", "optimizer", "learning_rate", "batch_size", "seed", "settings", "setting_id")


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Where a trial's mean exposure reaches ``UNEXPOSED``, between two evaluations, by linear interpolation."""

    trial_id: str
    objective: str
    optimizer: str
    learning_rate: float
    seed: int
    settings: str
    """See ``settings_of``."""
    setting_id: str
    steps: float
    elapsed_s: float
    """Seconds since the trial started."""
    unlearning_quality: float | None
    """What is left there by the frontiers' measure, in bits. It is not 0 where the mean exposure is: examples that are
    still exposed and others that are over-unlearned cancel in the mean exposure, not in this."""
    performance: float
    cost: float | None
    """Performance lost there against the base model, nats per token; None where the base was not measured."""
    population_nll: float | None
    """Of never-trained examples of the forget set's own kind, there; None: not measured."""
    population_cost: float | None
    """The same against the base model's."""
    distractor_nll: float | None
    """Of retained examples of its kind, there; None: it has none, or not measured."""
    distractor_cost: float | None
    """The same against the base model's."""

    def price(self, column: str) -> float | None:
        """Return what is lost there of one of the ``PRICES``; None where it was not measured."""
        return {
            "performance": self.cost,
            "population_nll": self.population_cost,
            "distractor_nll": self.distractor_cost,
        }[column]


@dataclass(frozen=True, kw_only=True)
class SettingCrossing:
    """Where one setting ends an exposure of one forget set: mean and range over its trials, one a seed.

    Everything but the trials is of those that end it, and None where none does.
    """

    setting_id: str
    settings: str
    trials: int
    reached: int
    """Trials that end the exposure."""
    steps: Level | None
    unlearning_quality: Level | None
    """See ``Crossing``."""
    performance: Level | None
    lost: Mapping[str, Level | None]
    """By one of the ``PRICES``: what is lost against the base model, nats per token; None where it was not measured."""

    @property
    def whole(self) -> bool:
        """Tell whether every trial ends it, so that means over seeds leave out none."""
        return self.reached == self.trials > 0


def method_of(row: Row) -> str:
    """Name how a trial unlearns: by objective and optimizer; plain ascent by its optimizer alone."""
    plain = row["objective"] in (None, "gradient_ascent")
    return str(row["optimizer"]) if plain else f"{row['objective']} {row['optimizer']}"


def crossings_of(evaluations: pa.Table, base: Row | None, measure: str) -> list[Crossing]:
    """Find where each trial's mean exposure first comes down to ``UNEXPOSED``, cheapest first.

    A trial that never does, or has no measure, has no crossing. The base model counts as step 0, where it was measured.

    Args:
        evaluations: rows in (trial, step) order; a value that is not finite counts as not measured.
        base: the base model's row of the baselines.
        measure: ``gen_ex`` or ``rel_ex``.
    """
    path = ("step", "elapsed_s", measure, *PRICES, "unlearning_quality")
    evaluations = evaluations.select([*IDENTITY, *path])
    after_N7 = columns(evaluations, path)
    measured_N = np.isfinite(after_N7[:, 2:4]).all(axis=1)  # what comes behind may be missing
    rows = evaluations.filter(pa.array(measured_N))
    after_N7 = after_N7[measured_N]
    trial_N = rows.column("trial_id").combine_chunks().dictionary_encode().indices.to_numpy()
    starts_N = np.diff(trial_N, prepend=-1) != 0
    before_N7 = np.roll(after_N7, 1, axis=0)
    before_N7[starts_N] = np.nan if base is None else [0.0, 0.0, *_numbers(base, path[2:])]
    before_N7[starts_N & (after_N7[:, 0] == 0)] = np.nan
    high_N, low_N = before_N7[:, 2] - UNEXPOSED[measure], after_N7[:, 2] - UNEXPOSED[measure]
    (passing,) = np.nonzero((high_N > 0) & (low_N <= 0))
    first = passing[np.unique(trial_N[passing], return_index=True)[1]]
    share_C1 = (high_N[first] / (high_N[first] - low_N[first]))[:, None]
    at_C7 = before_N7[first] + share_C1 * (after_N7[first] - before_N7[first])
    trials = rows.select(IDENTITY).take(first).to_pylist()
    crossings = [
        Crossing(
            trial_id=trial["trial_id"],
            objective=trial["objective"],
            optimizer=trial["optimizer"],
            learning_rate=trial["learning_rate"],
            seed=trial["seed"],
            settings=settings_of(trial),
            setting_id=setting_id_of(trial),
            steps=steps,
            elapsed_s=elapsed_s,
            unlearning_quality=_known(quality),
            performance=prices[0],
            cost=price_lost(prices[0], base, "performance"),
            population_nll=_known(prices[1]),
            population_cost=price_lost(prices[1], base, "population_nll"),
            distractor_nll=_known(prices[2]),
            distractor_cost=price_lost(prices[2], base, "distractor_nll"),
        )
        for trial, (steps, elapsed_s, _, *prices, quality) in zip(trials, at_C7.tolist(), strict=True)
    ]
    return sorted(crossings, key=lambda crossing: (crossing.performance, crossing.trial_id))


def crossings_by_setting(evaluations: pa.Table, crossings: Sequence[Crossing]) -> list[SettingCrossing]:
    """Sum the crossings up by setting, over seeds: the best first.

    That is the one of the lowest mean performance lost among those whose trials all end the exposure; then come those
    of which some do, and those of which none does.

    Args:
        evaluations: rows of every trial, those that never cross too.
        crossings: of these trials, by one measure.
    """
    trials = evaluations.group_by(list(IDENTITY)).aggregate([]).to_pylist()
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
            reached=len(group),
            steps=level_of([crossing.steps for crossing in group]),
            unlearning_quality=level_of([crossing.unlearning_quality for crossing in group]),
            performance=level_of([crossing.performance for crossing in group]),
            lost={name: level_of([crossing.price(name) for crossing in group]) for name in PRICES},
        )
        for setting_id, group in own.items()
    ]
    return sorted(found, key=_best_first)


def steps_by_method(
    crossings: Sequence[Crossing], by_setting: Sequence[SettingCrossing]
) -> dict[str, tuple[float, Interval | None]]:
    """Return the median steps of each method's best setting, over its seeds that end the exposure, and their interval.

    Steps of different learning rates are no sample of anything, so that one setting stands for its method. The interval
    is a bootstrap over these seeds; None where there is one seed, or all get there at the same step.

    Args:
        crossings: of the trials of one forget set, by one measure.
        by_setting: the same by setting, the best first. A method none of whose trials gets there is left out.
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
        steps_S = [np.array([crossing.steps]) for crossing in sorted(group, key=lambda crossing: crossing.seed)]
        found[method] = _median(steps_S), seed_interval(steps_S, _median)
    return found


def _median(groups: Sequence[Numbers]) -> float:
    return float(np.median(np.concatenate(groups)))


def _best_first(setting: SettingCrossing) -> tuple[bool, float, str]:
    mean = math.inf if setting.performance is None else setting.performance.mean
    return not setting.whole, mean, setting.settings


def settings_of(row: Row) -> str:
    """Return the settings of a trial as a person reads them; of a row that has none, what its other columns tell."""
    known = row.get("settings")
    if known:
        return str(known)
    parts = [row["objective"] or "gradient_ascent", f"{row['optimizer']} lr={row['learning_rate']!r}"]
    return " · ".join([*parts, f"batch {row['batch_size']}"] if row.get("batch_size") else parts)


def setting_id_of(row: Row) -> str:
    """Return what is equal for trials of equal settings, whatever their forget set and seed."""
    return str(row.get("setting_id") or settings_of(row))


def columns(table: pa.Table, names: Sequence[str]) -> Numbers:
    """Stack numeric columns of N rows to (N, names); null is NaN."""
    return np.stack([table.column(name).to_numpy().astype(np.float64) for name in names], axis=1)


def price_lost(value: float | None, base: Row | None, column: str) -> float | None:
    """Return how much higher a price is than the base model's; None where either was not measured."""
    start = None if base is None else base.get(column)
    return None if start is None or _known(value) is None else value - start


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _numbers(row: Row, names: Sequence[str]) -> list[float]:
    return [math.nan if row.get(name) is None else row[name] for name in names]
