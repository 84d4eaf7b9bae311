"""A sweep's evaluations for TensorBoard: one run a trial, read from the ledger like everything else.

It needs no hook in the trials, so it works while a sweep runs anywhere, and after.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from orchestrator.errors import SweepError
from orchestrator.ledger import Ledger
from orchestrator.schema import MINIMISED

SCALARS = tuple(name for name in MINIMISED if name != "step")
"""Columns of an evaluation that become curves over its step."""


class TensorBoardRuns:
    """Event files under a folder, ``<forget set>/seed=<seed>/<optimizer> <learning rate> <trial>/``."""

    def __init__(self, folder: Path) -> None:
        """Begin anew: what an earlier writer left of the same trials is replaced.

        Raises:
            SweepError: the folder is a file.
        """
        if folder.exists() and not folder.is_dir():
            raise SweepError(f"{folder}: it is a file; give a folder for TensorBoard's runs")
        self._folder = folder
        self._written: dict[str, set[int]] = {}

    def update(self, ledger: Ledger) -> int:
        """Write the evaluations that came since the last call.

        Returns:
            How many.
        """
        rows = ledger.table("evaluations").to_pylist()
        started = {row["trial_id"]: row["started_at"] for row in ledger.trials()}
        fresh: dict[str, list[dict[str, Any]]] = {}
        for row in sorted(rows, key=lambda row: row["step"]):
            if row["step"] not in self._written.get(row["trial_id"], ()):
                fresh.setdefault(row["trial_id"], []).append(row)
        for trial_id, evaluations in fresh.items():
            began = started[trial_id].timestamp() if trial_id in started else 0.0
            with self._writer(evaluations[0]) as writer:
                for row in evaluations:
                    for name in SCALARS:
                        if row[name] is not None:
                            writer.add_scalar(name, row[name], row["step"], walltime=began + row["elapsed_s"])
            self._written.setdefault(trial_id, set()).update(row["step"] for row in evaluations)
        return sum(map(len, fresh.values()))

    @contextmanager
    def _writer(self, row: dict[str, Any]) -> Iterator[SummaryWriter]:
        run = f"{row['optimizer']} {row['learning_rate']:.2g} {row['trial_id'][:8]}"
        place = self._folder / row["forget_set"] / f"seed={row['seed']}" / run
        if row["trial_id"] not in self._written and place.exists():
            shutil.rmtree(place)
        suffix = f".{row['step']:09d}"  # files of one second would have one name
        writer = SummaryWriter(str(place), filename_suffix=suffix)
        try:
            yield writer
        finally:
            writer.close()
