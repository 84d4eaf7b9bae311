"""Repair of a sweep's files before the sweep goes on: after crashes, damage, or a newer schema version.

Damaged files are quarantined, files of older schema versions rewritten, and trials opened again that lost rows.
"""

import contextlib
import socket
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from orchestrator.ledger.layout import BASELINES_FILE, FOLDERS, FORGET_EXAMPLES_FILE, checkpoint_file, trial_file
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.row_changes import REOPENED, change_trial
from orchestrator.ledger.schema import TABLES, TRIALS
from orchestrator.ledger.tables.checked_rows import find_problem
from orchestrator.ledger.tables.parquet import encode
from orchestrator.ledger.tables.rows import to_table
from orchestrator.ledger.tables.table_files import QuarantiningTableFiles, TableFile
from orchestrator.ledger.tables.trial_files import proposed_trial
from orchestrator.ledger.trial_setting import setting_of
from trainables.records import ENDED, Status

StepsOfTrials = dict[str, set[int]]
"""The steps that a table has rows of, by trial id."""


def repair_ledger(ledger: Ledger) -> None:
    """Rewrite files of older schema versions, quarantine damaged ones, and open trials again that lost rows.

    A trial whose own row is lost gets it back from the file of its evaluations, which says what was proposed. A trial
    has lost no rows if its last step is among its evaluations, and its examples are of the same steps.

    Files are rewritten backwards through their names, for readers that take the columns of all files from the first.

    Raises:
        IrregularFileError: a folder of the sweep is a link or a file; its owner has to decide what becomes of it.
    """
    ledger.fenced.require_lease()
    for folder in FOLDERS:
        ledger.storage.files(folder, "")
    files = QuarantiningTableFiles(ledger.storage)
    files.open("baselines", BASELINES_FILE)
    files.open("forget_sets", FORGET_EXAMPLES_FILE)
    steps: dict[str, StepsOfTrials] = {"evaluations": {}, "examples": {}}
    trials: dict[str, dict[str, Any]] = {}
    for name in TABLES:
        for file in files.open_all(name, list(reversed(files.list(name)))):
            if file.is_outdated:
                ledger.fenced.publish(file.path, encode(file.rows))
            if name == "trials":
                row = file.only_row()
                trials[row["trial_id"]] = row
                continue
            trial_id = PurePosixPath(file.path).stem
            if trial_id not in trials and (restored := _restore_row(ledger, file)) is not None:
                trials[trial_id] = restored
            for named in file.rows["trial_id"].unique().to_pylist():
                steps[name][named] = set(file.rows["step"].unique().to_pylist())
    repair_probes(ledger)
    _quarantine_halves(ledger, files, steps["evaluations"], steps["examples"])
    _reopen_incomplete(ledger, list(trials.values()), steps["evaluations"])


def repair_probes(ledger: Ledger) -> None:
    """Rewrite the probes' files of older schema versions, and quarantine damaged ones."""
    files = QuarantiningTableFiles(ledger.storage)
    for file in files.open_all("probes", list(files.list("probes"))):
        if file.is_outdated:
            ledger.fenced.publish(file.path, encode(file.rows))


def _quarantine_halves(
    ledger: Ledger, files: QuarantiningTableFiles, evaluated: StepsOfTrials, examined: StepsOfTrials
) -> None:
    """Quarantine the rows of trials that have evaluations without examples; such trials have no step any more."""
    for trial_id, steps in evaluated.items():
        if not steps <= examined.get(trial_id, set()):
            for name in ("evaluations", "examples"):
                files.quarantine(trial_file(name, trial_id), "its trial lost rows, and runs again")
            evaluated[trial_id] = set()
            ledger.fenced.remove(checkpoint_file(trial_id))  # it is of steps whose rows are lost


def _reopen_incomplete(ledger: Ledger, trials: list[dict[str, Any]], evaluated: StepsOfTrials) -> None:
    """Open ended trials again whose last step was not evaluated, and remove checkpoints that a crash left behind."""
    checkpoints = ledger.storage.files("checkpoints", ".safetensors")
    for row in trials:
        trial_id = row["trial_id"]
        if row["status"] in (Status.DIVERGED, Status.COLLAPSED) and checkpoint_file(trial_id) in checkpoints:
            ledger.fenced.remove(checkpoint_file(trial_id))
        if row["status"] in ENDED and row["last_step"] not in {0, *evaluated.get(trial_id, set())}:
            change_trial(ledger, trial_id, REOPENED)


def _restore_row(ledger: Ledger, evaluations: TableFile) -> dict[str, Any] | None:
    """Write the lost row of a trial again, as it was proposed, and return it. The trial is open, and ends as before.

    None: the file does not say what was proposed, as one of examples never does.
    """
    trial_id, proposed = PurePosixPath(evaluations.path).stem, proposed_trial(evaluations.content)
    with contextlib.suppress(pa.ArrowException):
        anew = {"started_at": ledger.now(), "host": socket.gethostname()}
        rows = to_table(TRIALS, [{**setting_of(proposed), "replicate": 0, **proposed, **anew}])
        if proposed.get("trial_id") == trial_id and find_problem("trials", rows) is None:
            ledger.fenced.publish(trial_file("trials", trial_id), encode(rows))
            row: dict[str, Any] = rows.to_pylist()[0]
            return row
    return None
