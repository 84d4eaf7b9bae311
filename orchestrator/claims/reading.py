"""Trials of a sweep as the claims see them, read from its tables.

Shapes: S evaluated steps (step 0 first), N examples.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.claims.examples import TrialExamples
from orchestrator.claims.trajectories import BUCKET, Replicate, Trajectory
from orchestrator.frontier import UNEXPOSED, Row, method_of, settings_of
from orchestrator.pareto import Numbers
from trainables.records import Status

MEASURES: Sequence[str] = tuple(UNEXPOSED)
"""Measures of exposure, the first that was measured being the one that verdicts are by."""
OWN_RETAINED, RETAINED = "distractor_nll", "retain_nll"
"""Columns of the cost on retained data: of a set's own kind, and of the training distribution, which is the kind of an
in-distribution set."""

_TRIAL = (
    "trial_id", "forget_set", "distribution", "seed", "replicate", "objective", "optimizer", "learning_rate",
    "batch_size", "settings", "setting_id", "status",
)  # fmt: skip
_PATH = ("step", *MEASURES, "performance", "heldout_nll", "population_nll", OWN_RETAINED, RETAINED)
_TRAITS = ("memorization", "difficulty")
_NUMBERS = ("step", "num_tokens", *MEASURES, *_TRAITS)
EVALUATION_COLUMNS = (*_TRIAL, *_PATH)
"""Columns of evaluations that the claims read."""
EXAMPLE_COLUMNS = ("trial_id", "forget_set", "replicate", "example_id", *_NUMBERS)
"""Columns of examples that the claims read."""
_CLIPPED = re.compile(r"\bclip_norm=")
_GETS_NOWHERE = {Status.COLLAPSED.value, Status.DIVERGED.value}


@dataclass(frozen=True, kw_only=True)
class SetFacts:
    """What a spec says of a forget set."""

    distribution: str
    canary: str
    """Its kind of canary; empty: it has none."""
    repetitions: str
    """How often its examples are seen in an epoch."""
    bucket: str = ""
    """Which third of a forget set it is, by what; empty: it is a whole set."""


@dataclass(frozen=True, kw_only=True)
class SweepTables:
    """The tables of one sweep, and what its spec says: all that the claims rest on."""

    sweep: str
    trials: pa.Table
    evaluations: pa.Table
    examples: pa.Table
    baselines: Sequence[Row]
    sets: Mapping[str, SetFacts]
    last_step: int
    """End of the step axis."""
    performance_floor: float
    """Increase of held-out loss beyond which a trial has collapsed, nats/token."""
    draws: str
    """See ``Replicate``."""
    matched_within: float
    """Share by which numbers of two forget sets may differ that count as matched."""
    data: str
    """The part of these that decides which examples are in which set."""
    model: str
    """The model for readers."""


def trajectories_of(tables: SweepTables) -> list[Trajectory]:
    """Return the trials of a sweep that were evaluated, ordered by their ids."""
    levels, bases = _levels(tables), _bases(tables)
    ended = {row["trial_id"]: row["status"] for row in tables.trials.select(["trial_id", "status"]).to_pylist()}
    rows = tables.evaluations.filter(pc.is_in(tables.evaluations["trial_id"], pa.array(list(ended), type=pa.string())))
    rows = rows.sort_by([("trial_id", "ascending"), ("step", "ascending")])
    if not rows.num_rows:
        return []
    path_NC = np.stack([rows.column(name).to_numpy().astype(np.float64) for name in _PATH], axis=1)
    completed_N = pc.equal(rows["status"], Status.COMPLETED.value).to_numpy(zero_copy_only=False)
    trial_N = rows["trial_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    starts = np.flatnonzero(np.diff(trial_N, prepend=-1))
    heads = rows.select(list(_TRIAL)).take(starts).to_pylist()
    found = []
    for head, start, end in zip(heads, starts, [*starts[1:], len(trial_N)], strict=True):
        facts = tables.sets.get(head["forget_set"])
        number = head["replicate"]
        base = bases.get((number, head["forget_set"]))
        if facts is not None:
            own_SC, completed_S = _from_base(path_NC[start:end], completed_N[start:end], base)
            if len(own_SC):
                found.append(
                    _trajectory(
                        tables,
                        head=head,
                        facts=facts,
                        path_SC=own_SC,
                        completed_S=completed_S,
                        status=ended[head["trial_id"]],
                        levels=levels,
                    )
                )
    return found


def examples_of(tables: SweepTables, trajectories: Sequence[Trajectory]) -> list[TrialExamples]:
    """Return the examples of these trials, at the steps at which the trial was completed."""
    wanted = pa.array([own.trial_id for own in trajectories], type=pa.string())
    rows = tables.examples.select(list(EXAMPLE_COLUMNS)).filter(pc.is_in(tables.examples["trial_id"], wanted))
    rows = rows.sort_by([("trial_id", "ascending"), ("example_id", "ascending"), ("step", "ascending")])
    if not rows.num_rows:
        return []
    trial_N = rows["trial_id"].combine_chunks().dictionary_encode()
    starts = np.flatnonzero(np.diff(trial_N.indices.to_numpy(), prepend=-1))
    ends = dict(zip(trial_N.dictionary.to_pylist(), zip(starts, [*starts[1:], len(trial_N)], strict=True), strict=True))
    numbers = {name: rows.column(name).to_numpy().astype(np.float64) for name in _NUMBERS}
    example_N = rows["example_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    found = []
    for own in trajectories:
        if own.trial_id not in ends:
            continue
        part = slice(*ends[own.trial_id])
        matrix = _matrices({name: column[part] for name, column in numbers.items()}, example_N[part], own.steps_S)
        if matrix is not None:
            found.append(
                TrialExamples(
                    trajectory=own,
                    steps_S=own.steps_S,
                    exposures={name: matrix[name] for name in MEASURES if np.isfinite(matrix[name]).any()},
                    traits={name: matrix[name][:, 0] for name in _TRAITS},
                    tokens_N=matrix["num_tokens"][:, 0],
                )
            )
    return found


def _trajectory(
    tables: SweepTables,
    *,
    head: Mapping[str, Any],
    facts: SetFacts,
    path_SC: Numbers,
    completed_S: np.ndarray[Any, Any],
    status: str | None,
    levels: Mapping[tuple[int, str, str], float],
) -> Trajectory:
    settings, name = settings_of(head), head["forget_set"]
    done_SC = path_SC[completed_S]
    column = dict(zip(_PATH, done_SC.T, strict=True))
    loss_S = path_SC[:, _PATH.index("heldout_nll")]
    retained = RETAINED if facts.distribution == "in" else OWN_RETAINED
    costs = {"heldout": "heldout_nll", "never_trained": "population_nll", "retained": retained}
    known_S = np.isfinite(loss_S)
    steps_S = path_SC[:, 0]
    gets_nowhere = status in _GETS_NOWHERE or not completed_S.all()
    return Trajectory(
        trial_id=head["trial_id"],
        sweep=tables.sweep,
        replicate=Replicate(tables.draws, head["replicate"]),
        forget_set=name,
        distribution=facts.distribution,
        seed=head["seed"],
        setting_id=head["setting_id"] or settings,
        settings=settings,
        labels={
            "optimizer": _optimizer(head, settings),
            "batch size": str(head["batch_size"]),
            "canary": facts.canary,
            "repetitions": facts.repetitions,
            "model": tables.model,
            **({BUCKET: facts.bucket} if facts.bucket else {}),
        },
        steps_S=column["step"],
        exposures={measure: column[measure] for measure in MEASURES},
        levels={measure: levels.get((head["replicate"], name, measure), UNEXPOSED[measure]) for measure in MEASURES},
        losses={kind: column[cost] - column[cost][0] for kind, cost in costs.items()},
        decay_steps_S=steps_S[known_S],
        decay_S=np.minimum(loss_S[known_S] - loss_S[0], tables.performance_floor),
        followed_until=float(tables.last_step) if gets_nowhere else float(column["step"][-1]),
    )


def _optimizer(head: Mapping[str, Any], settings: str) -> str:
    """Return a trial's method with its family of settings: clipped, or of SGD plain."""
    if _CLIPPED.search(settings):
        return f"clipped {method_of(head)}"
    return f"{'plain ' if head['optimizer'] == 'sgd' else ''}{method_of(head)}"


def _from_base(
    path_SC: Numbers, completed_S: np.ndarray[Any, Any], base: Row | None
) -> tuple[Numbers, np.ndarray[Any, Any]]:
    """Return the rows of a trial from the base model's on, and which were completed; empty if that is not known."""
    if path_SC[0, 0] == 0:
        return path_SC, completed_S
    if base is None:
        return path_SC[:0], completed_S[:0]
    start_C = [0.0, *(math.nan if base.get(name) is None else base[name] for name in _PATH[1:])]
    return np.vstack([start_C, path_SC]), np.concatenate([[True], completed_S])


def _levels(tables: SweepTables) -> dict[tuple[int, str, str], float]:
    """Return the mean exposure of a model that never saw a forget set, by replicate, forget set and measure.

    Of GenEx it is the mean over the references, each against all of them, itself included: a further model that never
    saw the set is drawn as they are, so its log p has the mean of theirs, and it is compared with the same log-mean
    likelihood, which is larger than the mean of log p. Each against the others would not do: with two references that
    is 0 whatever they are. Of RelEx it is the mean over two or more references; one tells no mean that theory does not
    tell better.
    """
    found: dict[tuple[int, str, str], list[float]] = {}
    known: dict[tuple[int, str], list[float]] = {}
    for row in tables.baselines:
        if row["model"].startswith("reference"):
            where = (row["replicate"], row["forget_set"])
            known.setdefault(where, []).append(row["forget_nll"])
            if (value := row.get("rel_ex")) is not None and math.isfinite(value):
                found.setdefault((*where, "rel_ex"), []).append(value)
    levels = {key: float(np.mean(sorted(values))) for key, values in found.items() if len(values) > 1}
    for where, (tokens, surprise) in _of_references(tables.examples).items():
        if where in known:  # nats an example, of both
            gap = surprise - tokens * float(np.mean(sorted(known[where])))
            levels[*where, "gen_ex"] = gap / math.log(2)
    return levels


def _of_references(examples: pa.Table) -> dict[tuple[int, str], tuple[float, float]]:
    """Return, by replicate and forget set, the mean over examples of their tokens, and of -log of their mean likelihood
    under the references, in nats."""
    base = examples.filter(pc.and_(pc.equal(examples["step"], 0), pc.is_valid(examples["difficulty"])))
    rows = base.group_by(["replicate", "forget_set", "example_id"]).aggregate(
        [("num_tokens", "min"), ("difficulty", "min")]  # every trial repeats them
    )
    found: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for row in rows.to_pylist():
        pair = (row["num_tokens_min"], row["difficulty_min"] * row["num_tokens_min"])
        found.setdefault((row["replicate"], row["forget_set"]), []).append(pair)
    means = {where: np.mean(sorted(pairs), axis=0) for where, pairs in found.items()}
    return {where: (float(tokens), float(surprise)) for where, (tokens, surprise) in means.items()}


def _bases(tables: SweepTables) -> dict[tuple[int, str], Row]:
    return {(row["replicate"], row["forget_set"]): row for row in tables.baselines if row["model"] == "base"}


def _matrices(
    columns: Mapping[str, Numbers], example_N: np.ndarray[Any, Any], steps_S: Numbers
) -> dict[str, Numbers] | None:
    """Return each column as examples by steps; NaN: there is no such row. None: the base model has none."""
    step_N = columns["step"]
    place_N = np.searchsorted(steps_S, step_N).clip(max=len(steps_S) - 1)
    kept_N = steps_S[place_N] == step_N
    names, row_N = np.unique(example_N[kept_N], return_inverse=True)
    if not (place_N[kept_N] == 0).any():
        return None
    found = {}
    for name, column in columns.items():
        matrix = np.full((len(names), len(steps_S)), np.nan)
        matrix[row_N, place_N[kept_N]] = column[kept_N]
        found[name] = matrix
    return found
