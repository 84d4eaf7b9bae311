"""A sweep whose trials halve, to its end, on a budget; ``test_several_at_once`` has one by Ray."""

import re
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from orchestrator.pareto import hypervolume
from tests.integration.helpers import INLINE, TINY, call, rows

pytestmark = pytest.mark.slow

RUNGS, REDUCTION, STEPS = (2, 8), 2, 150
SETTINGS = {
    "search.trials": "null",
    "search.sampler": "nsga3",
    "search.across": "each",  # with the points that it draws, early ends leave steps to further trials
    "search.budget.max_steps_total": STEPS,
    "stop.halving": f"{{rungs: {list(RUNGS)}, reduction: {REDUCTION}}}",
}


def areas(sweep: Path, stratum: str, rung: int) -> dict[str, float]:
    """Compute the hypervolume up to a rung of every trial that reached it, in order of proposal."""
    base = duckdb.sql(
        f"select unlearning_quality, performance + 3 from '{sweep}/references/baselines.parquet' "
        f"where model = 'base' and forget_set = '{stratum.partition('/')[0]}'"
    ).fetchall()[0]
    points: dict[str, list[tuple[float, float]]] = {}
    trials = sorted((t for t in rows(sweep, "trials") if t["stratum"] == stratum), key=lambda t: t["number"])
    for trial in trials:
        own = [e for e in rows(sweep, "evaluations") if e["trial_id"] == trial["trial_id"] and e["step"] <= rung]
        if any(e["step"] == rung for e in own):
            points[trial["trial_id"]] = [(e["unlearning_quality"], e["performance"]) for e in own]
    return {trial_id: hypervolume(np.array(found), base) for trial_id, found in points.items()}


def test_halving_spends_a_budget_on_the_better_trials_and_a_larger_one_goes_on(storage: Path) -> None:
    overrides = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    done = call("run", str(TINY), "--storage", str(storage), "--name", "halved", *INLINE, *overrides)
    assert done.returncode == 0, done.stderr
    sweep = storage / "halved"
    trials: list[dict[str, Any]] = rows(sweep, "trials")
    assert {trial["status"] for trial in trials} == {"completed"}
    spent = sum(trial["last_step"] for trial in trials)
    assert len(trials) > STEPS // 30, "early ends leave steps to further trials"
    said = re.search(r"max_steps_total: (\d+) of (\d+) steps are spent", done.stderr)
    assert said is not None, done.stderr
    assert (int(said[1]), int(said[2])) == (spent, STEPS)
    assert STEPS - 2 * 30 < spent <= STEPS
    assert "--set search.budget.max_steps_total=..." in done.stderr

    ended = {trial["trial_id"]: trial["last_step"] for trial in trials}
    assert set(ended.values()) & set(RUNGS), "the check would be empty"
    for trial in trials:
        assert (trial["last_step"] < 30) == ("stop.halving" in (trial["message"] or ""))
    for stratum in {trial["stratum"] for trial in trials}:
        for rung in RUNGS:
            found = areas(sweep, stratum, rung)
            for number, (trial_id, area) in enumerate(found.items(), start=1):
                rank = 1 + sum(other > area for other in list(found.values())[: number - 1])
                assert (ended[trial_id] > rung) == (rank <= max(1, number // REDUCTION)), (stratum, rung, number)

    again = call("resume", str(sweep))
    assert again.returncode == 0
    assert f"nothing left to do: {len(trials)} trials" in again.stdout
    assert "the budget is spent: search.budget.max_steps_total" in again.stderr
