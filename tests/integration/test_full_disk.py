"""A disk that fills up under a running sweep: the run says so and stops, and goes on once there is room."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disks import mounted
from tests.integration.helpers import INLINE, TINY, call, rows, start_inline, wait_until
from tests.limits import HANG_S

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tiny_sweep: Path, tmp_path: Path) -> Iterator[Path]:
    """A file system in memory, with the models that the sweep needs."""
    with mounted(tmp_path / "disk", "size=64m") as folder:
        shutil.copytree(tiny_sweep.parent / ".models", folder / ".models")
        yield folder


def test_a_full_disk_stops_a_sweep_that_goes_on_once_there_is_room(disk: Path, tiny_sweep: Path) -> None:
    sweep, filler = disk / "tiny", disk / "filler"
    process = start_inline("run", str(TINY), "--storage", str(disk))
    wait_until(lambda: list(sweep.glob("evaluations/*.parquet")), process)
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):  # until there is no room
        while True:
            file.write(bytes(4096))
    _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 1, err
    assert "No space left on device" in err
    assert f"unlearn-sweep resume {sweep}" in err
    assert "Traceback" not in err
    assert {trial["status"] for trial in rows(sweep, "trials")} <= {None, "completed", "stopped"}

    filler.unlink()
    done = call("resume", str(sweep), *INLINE)
    assert done.returncode == 0, done.stderr
    for table in ("trials", "evaluations", "examples"):
        assert rows(sweep, table) == rows(tiny_sweep, table)
