"""A sweep without Ray: the command in one process, from spec to report."""

import json
import signal
import sys
from pathlib import Path

import pytest

from tests.integration.helpers import INLINE, TELLING_MODULES, TINY, rows, start, unlearn_sweep, wait_until
from tests.limits import HANG_S

pytestmark = pytest.mark.slow

TABLES = ("trials", "evaluations", "examples")


def test_a_sweep_by_each_executor_is_the_same_bit_for_bit_and_inline_loads_no_ray(
    tiny_sweep: Path, tmp_path: Path
) -> None:
    """Models are trained anew, too: the storage is another one."""
    command = [sys.executable, "-c", TELLING_MODULES, str(tmp_path / "modules.json")]
    done = unlearn_sweep("run", str(TINY), "--storage", str(tmp_path), *INLINE, command=command)
    assert done.returncode == 0, done.stderr
    modules = json.loads((tmp_path / "modules.json").read_text())
    assert {"orchestrator.run.executors.inline", "torch"} <= set(modules)
    assert "ray" not in modules
    for table in TABLES:
        assert rows(tmp_path / "tiny", table) == rows(tiny_sweep, table)
    for name in ("baselines", "forget_sets"):
        file = f"references/{name}.parquet"
        assert (tmp_path / "tiny" / file).read_bytes() == (tiny_sweep / file).read_bytes()


def test_a_signal_stops_it_in_good_order_and_a_resume_ends_as_an_unbroken_one(tiny_sweep: Path, storage: Path) -> None:
    sweep = storage / "inline-stopped"
    process = start("run", str(TINY), "--name", sweep.name, "--storage", str(storage), *INLINE)
    wait_until(lambda: list(sweep.glob("evaluations/*.parquet")), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 130, err
    assert f"unlearn-sweep resume {sweep}" in err
    assert "Traceback" not in err
    stopped = {trial["trial_id"] for trial in rows(sweep, "trials") if trial["status"] == "stopped"}
    assert len(stopped) == 1, "a trial was under way"
    assert stopped <= {path.stem for path in sweep.glob("checkpoints/*")}
    done = unlearn_sweep("resume", str(sweep), *INLINE)
    assert done.returncode == 0, done.stderr
    for table in TABLES:
        assert rows(sweep, table) == rows(tiny_sweep, table)
