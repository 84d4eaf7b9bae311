"""The progress of sweeps, read from their ledgers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from orchestrator.driver import Driver, current_driver
from orchestrator.ledger import Ledger
from orchestrator.safe_text import command
from orchestrator.search import trials_per_stratum
from orchestrator.spec import on_axis, stored_spec
from trainables.records import TIMES


def sweep_status(ledger: Ledger) -> dict[str, Any]:
    """Return a sweep's trials by status, its evaluations, and who drives it now, as plain data for ``--json``."""
    driver = current_driver(ledger.storage)
    spec = stored_spec(ledger)
    rows = ledger.trials()
    strata = len(spec.strata)
    trials = trials_per_stratum(spec)
    return {
        "sweep": ledger.sweep,
        "uri": ledger.storage.uri,
        "trials": None if trials is None else trials * strata,
        "proposed": len(rows),
        "statuses": dict(Counter(row["status"] or "unfinished" for row in rows)),
        "evaluations": on_axis(spec, ledger.table("evaluations", ["trial_id", "step"])).num_rows,
        **_speed(rows),
        "probes": dict(Counter(_probes_done(ledger))),
        "driver": asdict(driver) if driver is not None and driver.drives() else None,
        "skipped_files": sorted(ledger.skipped),
    }


def _speed(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the seconds that trials spent, by name of ``TIMES``, and steps by second of ascent.

    Both are None where no trial has ended that measured them.
    """
    measured = [row for row in rows if row["step_s"] is not None]
    times = {name: sum(row[name] for row in measured) for name in TIMES} if measured else None
    steps = sum(row["last_step"] or 0 for row in measured)
    return {"times": times, "steps_per_s": steps / times["step_s"] if times and times["step_s"] > 0 else None}


def _probes_done(ledger: Ledger) -> list[str]:
    """Return the probes that were done, by name, once for each model."""
    rows = ledger.probes().select(["probe", "role", "forget_set", "replicate", "trial_id", "step"]).to_pylist()
    return [probe for probe, *_ in dict.fromkeys(tuple(row.values()) for row in rows)]


def status_text(status: dict[str, Any]) -> str:
    """Return a status as text for people; for a sweep that could not be read, the reason."""
    if "trials" not in status:
        return "\n".join([status["sweep"], status["uri"], *([status["error"]] if "error" in status else [])])
    endings = ", ".join(f"{count} {name}" for name, count in sorted(status["statuses"].items())) or "none yet"
    many = "as many as the budget allows" if status["trials"] is None else status["trials"]
    driver = status["driver"]
    drives = f"driven by {Driver(**driver)}" if driver is not None else "nobody drives it now"
    if driver is None and not status["proposed"]:
        drives += f"; it has not begun: {command('resume', status['uri'])}"
    probes = ", ".join(f"{count} {name}" for name, count in sorted(status["probes"].items()))
    probed = f", {sum(status['probes'].values())} probes ({probes})" if probes else ""
    return (
        f"{status['sweep']}: {status['proposed']} of {many} trials proposed ({endings}), "
        f"{status['evaluations']} evaluations{probed}\n{status['uri']}\n{drives}{_time_text(status)}"
    )


def _time_text(status: dict[str, Any]) -> str:
    """Return a line on where the time of trials went, the largest part first; empty where nobody measured it."""
    total = sum((status["times"] or {}).values())
    if not total:
        return ""
    speed = f" ({status['steps_per_s']:.3g} steps/s)" if status["steps_per_s"] is not None else ""
    parts = [
        f"{name.removesuffix('_s')} {seconds / total:.0%}{speed if name == 'step_s' else ''}"
        for name, seconds in sorted(status["times"].items(), key=lambda part: -part[1])
    ]
    return f"\ntime of trials: {', '.join(parts)}"
