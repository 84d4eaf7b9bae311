"""Where trials end an exposure: the step at which its mean first comes down to that of an unexposed model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from orchestrator.frontier.spreads import Row
from orchestrator.frontier.trial_rows import columns, finite_or_none, increase_over_base, setting_id_of, settings_of
from orchestrator.ledger import OWN_KIND
from trainables.metrics import EXPECTED_RELATIVE_EXPOSURE_BITS

UNEXPOSED = {"gen_ex": 0.0, "rel_ex": EXPECTED_RELATIVE_EXPOSURE_BITS}
"""Mean exposure of a model that never saw the forget set, in bits, by measure."""

PRICE_COLUMNS = ("performance", *OWN_KIND)
"""Names of prices of unlearning, increases in nats per token: on held-out data of the training distribution, and on
data of the forget set's own kind, never trained and retained."""

MEASURED_BY = {"performance": "heldout_nll"}
"""The column that measures a price, where it has another name: what is chosen by performance is shown by the held-out
NLL, which is of other examples where ``evaluation.selection_share`` divides them."""

TRIAL_COLUMNS = (
    "trial_id", "objective", "optimizer", "learning_rate", "batch_size", "seed", "replicate", "settings", "setting_id",
)  # fmt: skip
"""Columns that are the same in all rows of a trial."""


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """Where a trial's mean exposure reaches ``UNEXPOSED``, interpolated linearly between two evaluations."""

    trial_id: str
    objective: str
    optimizer: str
    learning_rate: float
    seed: int
    replicate: int
    settings: str
    """See ``settings_of``."""
    setting_id: str
    steps: float
    elapsed_s: float
    """Seconds since the trial started."""
    unlearning_quality: float | None
    """Unlearning quality at the crossing, in bits. It is not 0 where the mean exposure is: examples that are still
    exposed and examples that are over-unlearned cancel in the mean exposure, but not here."""
    performance: float
    cost: float | None
    """Increase of the held-out NLL over the base model's, nats per token; None: the base was not measured."""
    population_nll: float | None
    """NLL at the crossing of never-trained examples of the forget set's own kind; None: not measured."""
    population_cost: float | None
    """Its increase over the base model's."""
    distractor_nll: float | None
    """NLL at the crossing of retained examples of its kind; None: there are none, or not measured."""
    distractor_cost: float | None
    """Its increase over the base model's."""

    def price(self, column: str) -> float | None:
        """Return the increase of one of the ``PRICE_COLUMNS`` over the base model's; None: not measured."""
        return {
            "performance": self.cost,
            "population_nll": self.population_cost,
            "distractor_nll": self.distractor_cost,
        }[column]


def crossings_of(evaluations: pa.Table, bases: Mapping[int, Row], measure: str) -> list[Crossing]:
    """Return where each trial's mean exposure first comes down to ``UNEXPOSED``, cheapest first.

    A trial that never gets there, or was not measured, has no crossing. The base model of its replicate,
    if measured, counts as step 0.

    Args:
        evaluations: rows in (trial, step) order; a value that is not finite counts as not measured.
        bases: the base models' rows of the baselines, by replicate.
        measure: ``gen_ex`` or ``rel_ex``.
    """
    path = ("step", "elapsed_s", measure, "performance", "heldout_nll", *OWN_KIND, "unlearning_quality")
    evaluations = evaluations.select([*TRIAL_COLUMNS, *path])
    after_N8 = columns(evaluations, path)
    measured_N = np.isfinite(after_N8[:, 2:4]).all(axis=1)  # the columns after these may be missing
    rows = evaluations.filter(pa.array(measured_N))
    after_N8 = after_N8[measured_N]
    trial_N = rows.column("trial_id").combine_chunks().dictionary_encode().indices.to_numpy()
    starts_N = np.diff(trial_N, prepend=-1) != 0
    before_N8 = np.roll(after_N8, 1, axis=0)
    replicate_N = rows.column("replicate").to_numpy()
    before_N8[starts_N] = np.nan
    for replicate, base in bases.items():
        before_N8[starts_N & (replicate_N == replicate)] = [0.0, 0.0, *_numbers(base, path[2:])]
    before_N8[starts_N & (after_N8[:, 0] == 0)] = np.nan
    high_N, low_N = before_N8[:, 2] - UNEXPOSED[measure], after_N8[:, 2] - UNEXPOSED[measure]
    (passing,) = np.nonzero((high_N > 0) & (low_N <= 0))
    first = passing[np.unique(trial_N[passing], return_index=True)[1]]
    share_C1 = (high_N[first] / (high_N[first] - low_N[first]))[:, None]
    at_C8 = before_N8[first] + share_C1 * (after_N8[first] - before_N8[first])
    trials = rows.select(TRIAL_COLUMNS).take(first).to_pylist()
    crossings = [
        Crossing(
            trial_id=trial["trial_id"],
            objective=trial["objective"],
            optimizer=trial["optimizer"],
            learning_rate=trial["learning_rate"],
            seed=trial["seed"],
            replicate=trial["replicate"],
            settings=settings_of(trial),
            setting_id=setting_id_of(trial),
            steps=steps,
            elapsed_s=elapsed_s,
            unlearning_quality=finite_or_none(quality),
            performance=performance,
            cost=increase_over_base(heldout, bases.get(trial["replicate"]), "heldout_nll"),
            population_nll=finite_or_none(population),
            population_cost=increase_over_base(population, bases.get(trial["replicate"]), "population_nll"),
            distractor_nll=finite_or_none(distractors),
            distractor_cost=increase_over_base(distractors, bases.get(trial["replicate"]), "distractor_nll"),
        )
        for trial, (steps, elapsed_s, _, performance, heldout, population, distractors, quality) in zip(
            trials, at_C8.tolist(), strict=True
        )
    ]
    return sorted(crossings, key=lambda crossing: (crossing.performance, crossing.trial_id))


def _numbers(row: Row, names: Sequence[str]) -> list[float]:
    return [math.nan if row.get(name) is None else row[name] for name in names]
