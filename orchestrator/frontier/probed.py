"""What probes found on the points of each forget set, beside the base and reference models, as rows and columns."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from orchestrator.errors import SweepError
from orchestrator.frontier.spreads import Row
from orchestrator.ledger import Ledger
from orchestrator.safe_text import command
from orchestrator.spec import stored_spec
from trainables.errors import nearest_name_hint
from trainables.probes import PROBES

Point = tuple[str, int]
"""A trial and a step of it."""


@dataclass(frozen=True, kw_only=True, order=True)
class Tried:
    """What a probe tried: one row of a table, or one score of it."""

    probe: str
    variant: str
    amount: float | None
    score: str | None = None
    """The score, of what is not measured as an evaluation is; None: exposure and performance."""

    def __str__(self) -> str:
        amount = "" if self.amount is None else f" {self.amount:g}"
        return f"{self.probe}, {self.variant}{'' if self.variant.endswith(amount.strip()) else amount}" + (
            "" if self.score is None else f": {self.score}"
        )


@dataclass(frozen=True, kw_only=True)
class ProbedOne:
    """A model and what probes found on it."""

    role: str
    trial_id: str | None
    step: int | None
    """None, as the trial: the model is a control."""
    measured: Row | None
    """What the sweep measured of it: the evaluation of the step, or the baseline. None: it is gone."""
    found: Sequence[Row]
    """Rows of the probes."""
    replicate: int = 0

    @property
    def point(self) -> Point | None:
        """The trial and its step; None: the model is a control."""
        return None if self.trial_id is None or self.step is None else (self.trial_id, self.step)

    def row(self, tried: Tried) -> Row | None:
        """Return what was found where this was tried; None: it was not."""
        return next((row for row in self.found if _tried(row) == (tried.probe, tried.variant, tried.amount)), None)

    def after(self, probe: str, measure: str) -> Row | None:
        """Return the measurement of a probe after which most exposure is there; of equal ones, that of least effort.

        A model that diverges under whatever the probe tries has a row without a measurement. None: the probe measures
        no exposure, or this model was not probed.
        """
        found = [row for row in self.found if row["probe"] == probe]
        rows = [(-row[measure], row["amount"] or 0.0, row["variant"], row) for row in found if row[measure] is not None]
        return min(rows, key=lambda one: one[:3])[3] if rows else next(filter(diverged, found), None)


@dataclass(frozen=True, kw_only=True)
class ProbedSet:
    """What probes found on the models of one forget set."""

    forget_set: str
    distribution: str
    measure: str
    """The measure of exposure: ``gen_ex``, or ``rel_ex`` without reference models."""
    points: Sequence[ProbedOne]
    """The least exposed first, as the sweep measured them."""
    controls: Sequence[ProbedOne]
    """The base model, then the reference models."""
    other_settings: Mapping[str, int] = field(default_factory=dict)
    """By probe, how many points are left out of what it found, since it was done there with other settings."""

    @property
    def tried(self) -> list[Tried]:
        """All that was tried, in the order of the registry, each once."""
        order = {name: index for index, name in enumerate(PROBES)}
        rows = [row for one in (*self.points, *self.controls) for row in one.found]
        rows.sort(key=lambda row: order.get(row["probe"], len(order)))
        evaluated = {_tried(row) for row in rows if row["performance"] is not None or diverged(row)}
        found = [
            Tried(probe=row["probe"], variant=row["variant"], amount=row["amount"], score=score)
            for row in rows
            for score in ([None] if _tried(row) in evaluated else sorted(dict(row["scores"])))
        ]
        firsts = {name: index for index, name in reversed(list(enumerate((one.probe, one.variant) for one in found)))}
        return sorted(dict.fromkeys(found), key=lambda one: (firsts[one.probe, one.variant], one.amount or 0.0))

    @property
    def references(self) -> list[ProbedOne]:
        """The reference models among the controls."""
        return [one for one in self.controls if one.role.startswith("reference-")]

    def with_measured(self, others: "ProbedSet") -> "ProbedSet":
        """Return this set with the points of another one too, the least exposed first."""
        points = sorted((*self.points, *others.points), key=lambda one: _exposure(one, self.measure))
        return replace(self, points=points)

    def after_as_json(self, probe: str) -> dict[str, Any]:
        """Return plain data of what one probe left of each model: before, and after its strongest variant."""
        models = []
        for one in (*self.points, *self.controls):
            row = one.after(probe, self.measure)
            if row is not None:
                exposures = {"before": row[f"before_{self.measure}"], "after": row[self.measure]}
                models.append({"role": one.role, "exposure": exposures, **row, "scores": dict(row["scores"])})
        return {"probe": probe, "measure": self.measure, "models": models}

    def as_json(self) -> dict[str, Any]:
        """Return plain data for ``--json``."""
        return {**asdict(self), "points": _as_json(self.points), "controls": _as_json(self.controls)}


def _as_json(models: Sequence[ProbedOne]) -> list[dict[str, Any]]:
    return [{**asdict(one), "found": [{**row, "scores": dict(row["scores"])} for row in one.found]} for one in models]


def probed_sets(
    ledger: Ledger, forget_set: str | None = None, *, only: Collection[Point] | None = None
) -> list[ProbedSet]:
    """Return what probes found on each forget set, without those that have no probed point.

    Args:
        ledger: the ledger of the sweep.
        forget_set: the only forget set; None: all.
        only: the only points; None: all that were probed.
    """
    spec = stored_spec(ledger)
    rows = ledger.probes().to_pylist()
    found = []
    for name in spec.require_forget_sets(forget_set):
        own, other_settings = _of_one_setting([row for row in rows if row["forget_set"] == name])
        models = _models(ledger, own)
        points = [one for one in models if one.point is not None and (only is None or one.point in only)]
        if not points:
            continue
        measure = _measure(models)
        found.append(
            ProbedSet(
                forget_set=name,
                distribution=spec.data.forget_set_of(name).distribution,
                measure=measure,
                points=sorted(points, key=lambda one: _exposure(one, measure)),
                controls=sorted(
                    (one for one in models if one.point is None),
                    key=lambda one: (one.role != "base", one.role, one.replicate),
                ),
                other_settings=other_settings,
            )
        )
    return found


def measured_set(ledger: Ledger, forget_set: str, points: Iterable[Point]) -> ProbedSet:
    """Return points of a forget set on which nothing was tried, beside the base and reference models."""
    models = [("unlearned", trial_id, step, ledger.trial(trial_id)["replicate"]) for trial_id, step in points]
    controls = [
        (row["model"], None, None, row["replicate"])
        for row in ledger.baselines().of(forget_set)
        if row["model"] != "copy" and row["replicate"] in {replicate for *_, replicate in models}
    ]
    found = [
        ProbedOne(
            role=role,
            trial_id=trial_id,
            step=step,
            replicate=replicate,
            measured=_measured(ledger, role, trial_id, step, forget_set=forget_set, replicate=replicate),
            found=(),
        )
        for role, trial_id, step, replicate in (*models, *controls)
    ]
    measure = _measure(found)
    return ProbedSet(
        forget_set=forget_set,
        distribution=stored_spec(ledger).data.forget_set_of(forget_set).distribution,
        measure=measure,
        points=sorted((one for one in found if one.point is not None), key=lambda one: _exposure(one, measure)),
        controls=[one for one in found if one.point is None],
    )


def probed_after(ledger: Ledger, probe: str, forget_set: str | None = None) -> list[ProbedSet]:
    """Return what one probe found, of forget sets that have a point where it measured exposure.

    Raises:
        SweepError: the probe is unknown, no point was probed by it, or it measures no exposure.
    """
    if probe not in PROBES:
        raise SweepError(f"--after {probe}: there is no such probe; {nearest_name_hint(probe, PROBES)}")
    found = probed_sets(ledger, forget_set)
    where = "" if forget_set is None else f" of forget set '{forget_set}'"
    if not any(row["probe"] == probe for own in found for one in own.points for row in one.found):
        raise SweepError(
            f"--after {probe}: no point{where} was probed so; do it first: "
            f"{command('probe', ledger.storage.uri, '--probe', probe)} (or more points of each frontier: --frontier)"
        )
    measured = [own for own in found if any(one.after(probe, own.measure) for one in own.points)]
    if not measured:
        raise SweepError(
            f"--after {probe}: it measures no exposure; its scores are in the table 'probes': "
            f'{command("query", ledger.storage.uri)} "from probes"'
        )
    return measured


def _models(ledger: Ledger, rows: Iterable[Row]) -> list[ProbedOne]:
    """Return the models that rows of one forget set are of."""
    by_model: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = (row["role"], row["trial_id"], row["step"], row["forget_set"], row["replicate"])
        by_model.setdefault(key, []).append(row)
    return [
        ProbedOne(
            role=role,
            trial_id=trial_id,
            step=step,
            replicate=replicate,
            measured=_measured(ledger, role, trial_id, step, forget_set=forget_set, replicate=replicate),
            found=found,
        )
        for (role, trial_id, step, forget_set, replicate), found in by_model.items()
    ]


def _of_one_setting(rows: Sequence[Row]) -> tuple[list[Row], dict[str, int]]:
    """Return the rows of each probe that have the settings which its controls have now, or else most rows.

    A probe that is done again with other settings replaces what it found on the controls and on the chosen points, but
    not on points that were chosen before.

    Returns:
        The rows, and the number of points by probe that are left out.
    """
    settings: dict[str, str] = {}
    for probe in dict.fromkeys(row["probe"] for row in rows):
        own = [row for row in rows if row["probe"] == probe]
        controls = [row for row in own if row["trial_id"] is None]
        settings[probe] = Counter(row["probe_settings"] for row in controls or own).most_common(1)[0][0]
    kept = [row for row in rows if row["probe_settings"] == settings[row["probe"]]]
    others = {
        (row["probe"], row["trial_id"], row["step"])
        for row in rows
        if row["probe_settings"] != settings[row["probe"]] and row["trial_id"] is not None
    }
    return kept, dict(Counter(probe for probe, _, _ in others))


def _measure(models: Sequence[ProbedOne]) -> str:
    """Return the measure of exposure that the points have: generalized exposure needs reference models."""
    values = [one.measured["gen_ex"] for one in models if one.point is not None and one.measured is not None]
    return "rel_ex" if values and all(value is None for value in values) else "gen_ex"


def _measured(
    ledger: Ledger, role: str, trial_id: str | None, step: int | None, *, forget_set: str, replicate: int
) -> Row | None:
    if trial_id is None:
        rows: Iterable[Row] = ledger.baselines().in_replicate(replicate).of(forget_set)
        return next((row for row in rows if row["model"] == role), None)
    return next((row.columns() for row in ledger.published(trial_id)[0] if row.step == step), None)


def _exposure(one: ProbedOne, measure: str) -> float:
    value = None if one.measured is None else one.measured.get("unlearning_quality", one.measured[measure])
    return float("inf") if value is None else float(value)


def diverged(row: Row) -> bool:
    """Return whether a model diverged under a probe, so that there is no measurement after it."""
    return bool(dict(row["scores"]).get("diverged"))


def _tried(row: Row) -> tuple[str, str, float | None]:
    return row["probe"], row["variant"], row["amount"]
