"""The data of a report, read from a ledger and thinned to what a page can show. Nothing is drawn here."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.claims import LEAST_REPLICATES, Claims, claims_of, replicates_in
from orchestrator.frontier import (
    UNEXPOSED,
    Frontier,
    ProbedSet,
    Row,
    frontiers,
    measured_set,
    method_of,
    probed_sets,
    settings_of,
    summary,
)
from orchestrator.ledger import EXAMPLES, Ledger, metric_row, to_table
from orchestrator.points import chosen_points
from orchestrator.safe_text import command, one_line, quoted_sql, sql_text
from orchestrator.spec import of_present_spec, stored_spec

EVALUATIONS_DRAWN = 1500
"""Evaluations of a forget set that a figure draws; if there are more, every n-th."""
TRAJECTORIES_DRAWN = 40
"""Trials of a forget set and method that a figure draws; if there are more, every n-th by learning rate."""
RATE_BINS = 8
"""Rows of a heatmap; if fewer learning rates were run, each has a row of its own."""

_COLUMNS = [
    "trial_id", "forget_set", "distribution", "seed", "replicate", "objective", "optimizer", "learning_rate",
    "batch_size", "settings", "step", "status", "gen_ex", "rel_ex", "unlearning_quality", "performance",
    "population_nll", "distractor_nll",
]  # fmt: skip

_ENDINGS = [
    "trial_id", "forget_set", "objective", "optimizer", "learning_rate", "batch_size", "settings", "status", "message",
]  # fmt: skip

_DRAWN = f"""
with counted as (
    select *, row_number() over (partition by forget_set order by trial_id, step) - 1 as position,
        count(*) over (partition by forget_set) as total
    from evaluations
)
select * exclude (position, total) from counted
where position % cast(ceil(total / {EVALUATIONS_DRAWN}) as bigint) = 0
order by forget_set, trial_id, step
"""  # noqa: S608  # our own numbers and column names

_TRAJECTORIES = f"""
with trials as (
    select forget_set, method, trial_id,
        row_number() over (partition by forget_set, method order by min(learning_rate), trial_id) - 1 as position,
        count(*) over (partition by forget_set, method) as total
    from evaluations group by forget_set, method, trial_id
)
select evaluations.* from evaluations join trials using (forget_set, method, trial_id)
where position % cast(ceil(total / {TRAJECTORIES_DRAWN}) as bigint) = 0
order by forget_set, method, trial_id, step
"""  # noqa: S608

_HEATMAP = f"""
with ranked as (
    select *, ln(learning_rate) as rate, dense_rank() over (partition by method order by learning_rate) - 1 as rank
    from evaluations where learning_rate > 0
), ranged as (
    select *, min(rate) over own as low, max(rate) over own as high, max(rank) over own as last
    from ranked window own as (partition by method)
), binned as (
    select *, case when last < {RATE_BINS} then rank
        else least({RATE_BINS} - 1, floor({RATE_BINS} * (rate - low) / (high - low))) end as bin
    from ranged
), labelled as (
    select *, min(learning_rate) over own as rate_from, max(learning_rate) over own as rate_to
    from binned window own as (partition by method, bin)
)
select forget_set, method, step, rate_from, rate_to, median(unlearning_quality) as quality,
    count(distinct trial_id) as trials
from labelled group by all order by forget_set, method, rate_from, step
"""  # noqa: S608


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The examples of one forget set, before unlearning and at one evaluation after it."""

    forget_set: str
    trial_id: str
    step: int
    choice: str
    """How the evaluation was chosen, for readers."""
    rows: Sequence[Row]
    """One row for each example, the most exposed after unlearning first."""

    @property
    def texts(self) -> list[str]:
        """Columns of texts that the examples have: a forget set may have no prompts, an old sweep no texts."""
        return [name for name in ("prompt", "completion") if any(row[name] for row in self.rows)]


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """All data of a report except Optuna's importances."""

    sweep: str
    uri: str
    description: str
    forget_sets: Sequence[str]
    """Names in the order of the spec, as in all other fields."""
    frontiers: Sequence[Frontier]
    evaluations: Sequence[Row]
    """Finite evaluations, thinned by ``EVALUATIONS_DRAWN``."""
    trajectories: Sequence[Row]
    """Finite evaluations of whole trials, thinned by ``TRAJECTORIES_DRAWN``."""
    heatmap: Sequence[Row]
    """Median unlearning quality by method, bin of learning rates and step."""
    examples: Sequence[Examples]
    statuses: Mapping[str, int]
    endings: Sequence[Row]
    """Rows of the trials that ended with a message."""
    probed: Sequence[ProbedSet]
    """What probes found on points, and what evaluations tell of those that a user would choose and nobody probed."""
    replicates: int
    claims: Claims | None
    """What the sweep says of the paper's findings; None: it has too few replicates to decide any."""
    has_references: bool
    """Whether unlearning quality is of generalized exposure; without reference models it is of relative exposure."""


def read_report_data(ledger: Ledger) -> ReportData:
    """Return the data of a sweep's report, however far the sweep has come."""
    spec = stored_spec(ledger)
    found = frontiers(ledger)
    evaluations = _with_method_and_settings(
        _finite(of_present_spec(ledger, spec, ledger.table("evaluations", _COLUMNS)))
    )
    trials = _with_method_and_settings(of_present_spec(ledger, spec, ledger.table("trials", _ENDINGS)))
    texts = ledger.forget_examples()
    replicates = replicates_in(ledger)
    return ReportData(
        sweep=ledger.sweep,
        uri=ledger.storage.uri,
        description=spec.description,
        forget_sets=list(spec.data.unlearned),
        frontiers=found,
        evaluations=_query_tables(_DRAWN, evaluations=evaluations),
        trajectories=_query_tables(_TRAJECTORIES, evaluations=evaluations),
        heatmap=_query_tables(_HEATMAP, evaluations=evaluations),
        examples=_examples(ledger, found, texts),
        statuses=dict(Counter(status or "unfinished" for status in trials["status"].to_pylist())),
        endings=trials.filter(pc.is_valid(trials["message"])).sort_by("trial_id").to_pylist(),
        probed=_probed(ledger, found),
        replicates=replicates,
        claims=claims_of([ledger], describe=False)[0] if replicates >= LEAST_REPLICATES else None,
        has_references=pc.count(evaluations["gen_ex"]).as_py() > 0
        or any(f.base is not None and f.base["gen_ex"] is not None for f in found),
    )


def look_up(uri: str, trial_id: str, step: int | str) -> str:
    """Return the command that shows one evaluation."""
    sql = f"from evaluations where trial_id = {sql_text(trial_id)} and step = {step}"  # it is shown
    return one_line(f"{command('query', uri)} {quoted_sql(sql)}")


def step_after_unlearning(frontier: Frontier) -> tuple[str, int, str] | None:
    """Return the evaluation that shows the examples after unlearning: (trial, step, how it was chosen).

    It is the evaluation nearest to the price; if no trial ends the exposure, the least exposed point of the frontier.
    None: the frontier has no point.
    """
    if frontier.priced is not None:
        level = f"mean {summary.MEASURE_NAMES[frontier.measure]} {UNEXPOSED[frontier.measure]:.3g}"
        return (
            frontier.priced["trial_id"],
            frontier.priced["step"],
            f"the evaluated step nearest to the price of {level}",
        )
    if frontier.points:
        point = frontier.points[0]
        return point["trial_id"], point["step"], "no trial ends the exposure: the least exposed point of the frontier"
    return None


def _probed(ledger: Ledger, found: Sequence[Frontier]) -> list[ProbedSet]:
    """Return the points that were probed, and those that a user would choose, with what is known of each."""
    probed = {own.forget_set: own for own in probed_sets(ledger)}
    result = []
    for frontier in found:
        own = probed.get(frontier.forget_set)
        points = {(row["trial_id"], row["step"]) for row in chosen_points(frontier).values()}
        if own is not None:
            points -= {one.point for one in own.points if one.point is not None}
        if points:
            measured = measured_set(ledger, frontier.forget_set, points)
            own = measured if own is None else own.with_measured(measured)
        if own is not None:
            result.append(own)
    return result


def _examples(ledger: Ledger, found: Sequence[Frontier], texts: pa.Table) -> list[Examples]:
    """Return the examples of one evaluation of each forget set. Only files of these trials are read."""
    result = []
    for frontier in found:
        chosen = step_after_unlearning(frontier)
        if chosen is None:
            continue
        trial_id, step, choice = chosen
        trial, (_, examples) = ledger.trial(trial_id), ledger.published(trial_id)
        of_step = [metric_row("examples", row.columns()) for row in examples if row.step == step]
        rows = _query_tables(
            """
            select example_id, num_tokens, memorization, difficulty, memorization * num_tokens / ln(2) as before,
                gen_ex as after, rel_ex, prompt, completion
            from examples left join (
                from texts where forget_set = $forget_set and replicate = $replicate
            ) using (example_id)
            order by coalesce(gen_ex, rel_ex) desc, example_id
            """,
            examples=_finite(to_table(EXAMPLES, of_step), needed=()),
            texts=texts,
            parameters={"forget_set": frontier.forget_set, "replicate": trial["replicate"]},
        )
        result.append(Examples(forget_set=frontier.forget_set, trial_id=trial_id, step=step, choice=choice, rows=rows))
    return result


def _finite(table: pa.Table, needed: Sequence[str] = ("unlearning_quality", "performance")) -> pa.Table:
    """Return a table with null for numbers that are not finite, without rows that lack a needed one."""
    for index, column in enumerate(table.schema):
        if pa.types.is_floating(column.type):
            values = table.column(index)
            table = table.set_column(index, column.name, pc.if_else(pc.is_finite(values), values, None))
    for name in needed:
        table = table.filter(pc.is_valid(table[name]))
    return table


def _with_method_and_settings(table: pa.Table) -> pa.Table:
    """Return a table with the column ``method`` and a complete ``settings``: see ``method_of`` and ``settings_of``."""
    rows = table.select(["objective", "optimizer", "learning_rate", "batch_size", "settings"]).to_pylist()
    found = {"method": method_of, "settings": settings_of}
    table = table.drop_columns("settings")
    for name, of in found.items():
        table = table.append_column(name, pa.array([of(row) for row in rows], type=pa.string()))
    return table


def _query_tables(sql: str, *, parameters: dict[str, Any] | None = None, **tables: pa.Table) -> list[dict[str, Any]]:
    with duckdb.connect(":memory:", config={"temp_directory": ""}) as connection:
        for name, table in tables.items():
            connection.register(name, table)
        rows: list[dict[str, Any]] = connection.sql(sql, params=parameters).to_arrow_table().to_pylist()
        return rows
