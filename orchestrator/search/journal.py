"""The sweep's Optuna studies as one journal file, for optuna-dashboard and ``optuna.load_study``.

The ledger is the truth and the studies live in memory: the journal is a copy for readers, and nothing reads it back.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend

from orchestrator.search.study_search import StudySearch
from orchestrator.storage import Storage

JOURNAL = "optuna/journal.log"


def export_journal(storage: Storage, studies: Mapping[str, StudySearch]) -> str:
    """Publish every study, by its name, as one file that is replaced whole; return its path in the storage.

    Running trials are left out, as a reader could take them for trials that died; so a trial's number may be lower than
    in the live study. Times in the file are when this process was told, and mean nothing after a resume.
    """
    backend = _Lines()
    journal = JournalStorage(backend)
    for name, searched in studies.items():
        study = optuna.create_study(storage=journal, study_name=name, directions=searched.study.directions)
        study.add_trials(trial for trial in searched.study.get_trials(deepcopy=False) if trial.state.is_finished())
    storage.publish(JOURNAL, backend.content())
    return JOURNAL


class _Lines(BaseJournalBackend):
    """Optuna's journal in memory. Optuna's own backend locks and syncs a file for every trial."""

    def __init__(self) -> None:
        self._logs: list[dict[str, Any]] = []
        self._lines: list[str] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """See ``BaseJournalBackend``."""
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """See ``BaseJournalBackend``. Logs are encoded at once, since they may hold what changes later."""
        self._logs += logs
        self._lines += [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]

    def content(self) -> bytes:
        """Return the file's bytes."""
        return "".join(self._lines).encode()
