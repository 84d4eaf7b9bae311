"""A sweep by Ray whose trials halve across replicates, several at once."""

from pathlib import Path

import pytest

from tests.integration.helpers import TINY, rows, unlearn_sweep

pytestmark = pytest.mark.slow


def test_the_replicates_of_a_setting_end_together_with_several_at_once(storage: Path) -> None:
    settings = {"replicates": 2, "search.trials": 3, "stop.halving": "{rungs: [2, 8], reduction: 2}"}
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    done = unlearn_sweep("run", str(TINY), "--storage", str(storage), "--name", "both", "--workers", "2", *overrides)
    assert done.returncode == 0, done.stderr
    ends: dict[tuple[str, str], list[int]] = {}
    for trial in rows(storage / "both", "trials"):
        ends.setdefault((trial["forget_set"], trial["setting_id"]), []).append(trial["last_step"])
    assert len(ends) == 2 * 3
    assert all(len(steps) == 2 and len(set(steps)) == 1 for steps in ends.values()), ends
    assert {row["replicate"] for row in rows(storage / "both", "evaluations")} == {0, 1}
    assert {steps[0] for steps in ends.values()} & {2, 8}, "the check would be empty"
    reasons = {trial["message"] for trial in rows(storage / "both", "trials") if trial["last_step"] < 30}
    assert all("stop.halving" in reason for reason in reasons)
