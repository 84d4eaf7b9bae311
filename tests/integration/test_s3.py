"""A whole sweep whose storage is a real S3 server gives what it gives on a disk."""

import json

import pytest

from tests.integration.helpers import INLINE, TINY, call, rows

pytestmark = pytest.mark.slow


def test_a_sweep_on_s3_is_the_sweep_on_a_disk(tiny_sweep, s3_server, s3_bucket):
    storage = f"s3://{s3_bucket}/sweeps"
    place = f"{storage}/tiny"

    def succeed(*arguments):
        done = call(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = succeed("run", str(TINY), "--storage", f"{storage}/", *INLINE)
    assert f"ledger: {place}\n" in said
    assert f"report: {place}/report/index.html\n" in said
    folder = s3_server.folder / s3_bucket / "sweeps" / "tiny"
    for table in ("trials", "evaluations", "examples"):
        assert rows(folder, table) == rows(tiny_sweep, table)
    sql = "select trial_id, step, gen_ex, performance from evaluations order by all"
    assert succeed("query", place, sql, "--format", "csv") == succeed("query", str(tiny_sweep), sql, "--format", "csv")
    ours, disks = (json.loads(succeed("frontier", at, "--json")) for at in (place, str(tiny_sweep)))
    assert [undated(frontier) for frontier in ours] == [undated(frontier) for frontier in disks]
    before = {path: path.read_bytes() for path in (folder / "evaluations").iterdir()}
    assert succeed("resume", f"{place}/").startswith("nothing left to do")
    assert {path: path.read_bytes() for path in (folder / "evaluations").iterdir()} == before


def undated(value):
    """Leave out what clocks say."""
    if isinstance(value, dict):
        return {
            name: undated(inner) for name, inner in value.items() if "elapsed" not in name and "seconds" not in name
        }
    return [undated(inner) for inner in value] if isinstance(value, list) else value
