"""Whether a sweep may run, new or begun: it is read, compared with what was begun, checked, and written down."""

import warnings
from dataclasses import asdict, dataclass

from orchestrator.errors import LedgerWarning, SweepExistsError
from orchestrator.ledger import DriverWriter, Ledger, repair_ledger
from orchestrator.preparation import CheckedInputs, manifest_of, provenance, require_no_problem
from orchestrator.run.executors.protocol import Executor
from orchestrator.run.options import RunOptions
from orchestrator.safe_text import command
from orchestrator.search import SweepSearch
from orchestrator.spec import Changes, SweepSpec, compare, day_of_creation, dump_spec, stored_spec
from trainables.deferred import Deferred
from trainables.errors import UserError

_read_and_check = Deferred("orchestrator.preparation", "read_and_check")


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A sweep that may run: its data is read, and nothing is wrong with it."""

    checked: CheckedInputs
    search: SweepSearch
    changes: Changes | None = None
    """To the sweep that was begun; None: it is new."""

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.changes is not None and self.search.is_exhausted()


def read_here(spec: SweepSpec, ledger: Ledger, options: RunOptions, *, exists: bool) -> Ready:
    """Read a sweep's data in this process, compare it with what was begun, if the sweep ``exists``, and check it.

    Raises:
        SweepError: the sweep may not go on; as ``run_sweep``.
        UnlearningError: the data cannot be used.
    """
    checked = _read_and_check(spec, is_new=not exists, chat_date=day_of_creation(ledger))
    changes = _changes(ledger, checked) if exists else None
    if changes is not None:
        changes.require_allowed(ledger.storage.uri, force=options.force)
    ready = Ready(checked=checked, search=_search(checked, ledger, options), changes=changes)
    if ready.is_finished:
        return ready
    if changes is not None and not options.resume:
        raise _exists(ledger, ready.search, changes)
    require_no_problem(checked, exists=exists)
    return ready


def read_by(executor: Executor, spec: SweepSpec, ledger: Ledger, *, withdraws: bool) -> Ready:
    """Have an executor read and check the data of a new sweep, and write down what the data settles.

    Args:
        executor: within its session.
        spec: of the sweep.
        ledger: of the sweep, which has been written without what the data settles.
        withdraws: whether to take back what was written where the sweep cannot be: before this session it was not
            there.

    Raises:
        SweepError, UnlearningError: it cannot be.
    """
    try:
        checked = executor.read_and_check(spec)
        require_no_problem(checked)
    except UserError:
        if withdraws:
            ledger.manifest.withdraw()
        raise
    return settled(checked, ledger)


def read_again(executor: Executor, spec: SweepSpec) -> CheckedInputs:
    """Read and check the data of a sweep where it was read first, with other settings."""
    checked: CheckedInputs = (
        executor.read_and_check(spec) if executor.reads_new_data else _read_and_check(spec, is_new=True)
    )
    return checked


def settled(checked: CheckedInputs, ledger: Ledger) -> Ready:
    """Write what data or models have settled of a sweep into its spec, and return it."""
    ledger.manifest.describe(dump_spec(checked.spec), manifest_of(checked.replicates))
    return Ready(checked=checked, search=_search(checked, ledger))


def write_down(spec: SweepSpec, ledger: Ledger, ready: Ready | None) -> None:
    """Write what the sweep is, and this session of it. None: its data is not read yet, and what the data settles is
    left open."""
    session = provenance.session(spec, [])
    if ready is None:
        ledger.manifest.create(dump_spec(spec, every_default=False), provenance.outline(spec), session)
        return
    if ready.changes:
        session["changes"] = asdict(ready.changes)
    checked = ready.checked
    ledger.manifest.create(dump_spec(checked.spec), manifest_of(checked.replicates), session)


def _search(checked: CheckedInputs, ledger: Ledger, options: RunOptions | None = None) -> SweepSearch:
    """Put the ledger's files in order, and rebuild the search from them."""
    ledger.storage.remove_leftovers()
    repair_ledger(ledger)
    if options is not None and options.retry_failed and options.resume:
        DriverWriter(ledger).reopen_failed()
    hashes = [inputs.workload_hash for inputs in checked.replicates]
    return SweepSearch(checked.spec, ledger, workload_hashes=hashes, concurrent_trials=1)


def _changes(ledger: Ledger, checked: CheckedInputs) -> Changes | None:
    """Compare the sweep with what it would go on with; None: there is no sweep."""
    if ledger.manifest.spec_text() is None:
        return None
    recorded = ledger.manifest.read()
    last = provenance.last_session(recorded)
    other_versions = provenance.version_notes(last.get("packages", {}), provenance.package_versions())
    if other_versions:
        warnings.warn(
            f"{ledger.storage.uri}: {'; '.join(other_versions)}; the last digits of new rows may differ",
            LedgerWarning,
            stacklevel=2,
        )
    before = {**recorded, "code": last.get("code"), "plugins": last.get("plugins")}
    present = {
        **manifest_of(checked.replicates),
        "code": provenance.code_state(),
        "plugins": provenance.plugin_records(checked.spec),
    }
    return compare(stored_spec(ledger), checked.spec, before, present)


def _exists(ledger: Ledger, search: SweepSearch, changes: Changes) -> SweepExistsError:
    total = "as many as the budget allows" if search.total is None else str(search.total)
    there = f"sweep '{ledger.sweep}' is at {ledger.storage.uri}: {len(search.statuses)} of {total} trials ended"
    if changes.additions:
        added = "".join(f"\n  {line}" for line in changes.additions)
        return SweepExistsError(
            f"{there}; this spec adds to it:{added}\nadd --resume to go on with that, or choose another --name"
        )
    return SweepExistsError(
        f"{there}\ngo on with it: add --resume, or run: {command('resume', ledger.storage.uri)}\n"
        f"or choose another --name"
    )
