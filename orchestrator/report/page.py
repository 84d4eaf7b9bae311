"""The report of a sweep: one self-contained HTML page, with each of its figures as PNG and SVG beside it."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

import jinja2

from orchestrator.claims import wording
from orchestrator.frontier import CHOSEN_NOTE, comparison, settings_of, summary
from orchestrator.ledger import Ledger
from orchestrator.points import names_of_points
from orchestrator.report.data import ReportData, look_up, read_report_data
from orchestrator.report.figures import (
    claims_figure,
    examples_figure,
    frontier_figure,
    heatmap_figure,
    importance_figure,
    trajectory_figure,
)
from orchestrator.report.importances import importances
from orchestrator.report.page_script import javascript
from orchestrator.report.plotting import Figure, unvalidated
from orchestrator.storage import Storage

PAGE = "report/index.html"
EXTREMES_SHOWN = 8
"""Examples of a forget set that the page shows from each end."""
SETTINGS_SHOWN = 24
"""Settings at which the page shows forget sets side by side."""
ENDINGS_SHOWN = 50
"""Trials with a message that the page shows."""
COSTS = {
    "performance": "lost, held-out, nats/token",
    "population_nll": "lost, own kind, never trained, nats/token",
    "distractor_nll": "lost, own kind, retained, nats/token",
}
"""Headings of the increase of each price column over the base model."""
MAIN_PACKAGES = ("unlearn-sweep", "torch", "transformers", "accelerate", "ray", "optuna")
"""Packages whose versions a reader looks for first."""
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("orchestrator.report"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]


def write_report(
    ledger: Ledger, *, redact: bool = False, images: bool = True, script: Callable[[], str] = javascript
) -> str:
    """Publish the report in the sweep's folder, and return its URI.

    Args:
        ledger: the ledger of the sweep.
        redact: whether to leave out the texts of examples.
        images: whether to write each figure as PNG and SVG too, which takes longer than the page.
        script: returns the page's JavaScript, which may have been packed ahead.
    """
    figures = str(PurePosixPath(PAGE).parent) if images else None
    return write_report_to(ledger, ledger.storage, page=PAGE, figures=figures, redact=redact, script=script)


def write_report_to(
    ledger: Ledger,
    target: Storage,
    *,
    page: str,
    figures: str | None,
    redact: bool = False,
    script: Callable[[], str] = javascript,
) -> str:
    """Publish the report in another storage, and return its URI: images in the folder ``figures``, then the page."""
    data = read_report_data(ledger)
    drawn = draw(ledger, data)
    for figure in drawn:
        if figure.panels and figures is not None:
            for ending, content in figure.images().items():
                target.publish(f"{figures}/{figure.name}.{ending}", content)
    target.publish(page, render(ledger, data, drawn, script(), redact=redact).encode())
    return f"{target.uri}/{page}"


def draw(ledger: Ledger, data: ReportData) -> list[Figure]:
    """Return every figure of the report."""
    with unvalidated():
        return [
            claims_figure(data.claims, data.replicates),
            frontier_figure(data),
            trajectory_figure(data),
            heatmap_figure(data),
            examples_figure(data),
            importance_figure(*importances(ledger), data.forget_sets),
        ]


def render(ledger: Ledger, data: ReportData, figures: list[Figure], script: str, *, redact: bool) -> str:
    """Return the page as HTML. Texts of the data are escaped: by Jinja in HTML, and by its ``tojson`` in scripts."""
    manifest = ledger.manifest.read_if_sound()
    packages = {name: version for name, version in manifest.get("packages", {}).items() if version}
    return _TEMPLATES.get_template("report.html.j2").render(
        data=data,
        figures=figures,
        frontiers=data.frontiers,
        prices={
            measure: summary.prices_of(data.frontiers, measure) for measure in summary.priced_measures(data.frontiers)
        },
        shared={
            measure: comparison.shared_settings(data.frontiers, measure)
            for measure in summary.priced_measures(data.frontiers)
        },
        comparison=comparison,
        names=summary.setting_names(data.frontiers),
        notes=summary.exposure_notes(data.frontiers),
        interval_note=summary.interval_note(data.frontiers),
        chosen_note=CHOSEN_NOTE,
        costs={name: COSTS[name] for name in ("performance", *summary.own_kind_measured(data.frontiers))},
        summary=summary,
        wording=wording,
        settings_of=settings_of,
        look_up=look_up,
        probe_tables=[
            (summary.probe_table(own, names_of_points(data.frontiers)), summary.probe_note(own)) for own in data.probed
        ],
        extremes=EXTREMES_SHOWN,
        endings=ENDINGS_SHOWN,
        settings_shown=SETTINGS_SHOWN,
        redact=redact,
        packages=packages,
        facts=_facts(manifest),
        manifest_text=json.dumps(manifest, indent=2, sort_keys=True),
        spec_text=ledger.manifest.spec_text() or "",
        written_at=ledger.now().strftime("%Y-%m-%d %H:%M UTC"),
        javascript=script,
    )


def _facts(manifest: dict[str, Any]) -> dict[str, str]:
    """Return what readers look for first in ``sweep.json``; the page has the whole file below it."""
    code = manifest.get("code") or {}
    packages = manifest.get("packages") or {}
    commit = code.get("commit")
    state = " with uncommitted changes" if code.get("dirty") else ""
    went_on = [session["started_at"] for session in manifest.get("resumed", []) if "started_at" in session]
    facts = {
        "created": _when(manifest["started_at"]) if "started_at" in manifest else None,
        "git commit": f"{commit}{state}" if commit else None,
        "machine": manifest.get("platform"),
        "workers": "; ".join(_worker(worker) for worker in manifest.get("workers", [])) or None,
        "went on": ", ".join(map(_when, went_on)) or None,
        "threads a trial": manifest.get("threads_per_trial"),
        "Python": manifest.get("python"),
        "main packages": ", ".join(f"{name} {packages[name]}" for name in MAIN_PACKAGES if packages.get(name)) or None,
        "spec hash": manifest.get("spec_hash"),
        "data hash": manifest.get("data_hash"),
        "workload hash": manifest.get("workload_hash"),
        **{f"{role} (model)": model["key"] for role, model in manifest.get("models", {}).items()},
    }
    return {name: str(value) for name, value in facts.items() if value is not None}


def _when(time: str) -> str:
    return datetime.fromisoformat(time).strftime("%Y-%m-%d %H:%M UTC")


def _worker(worker: dict[str, Any]) -> str:
    gpus = "".join(f", {gpu['name']}" for gpu in worker["gpus"])
    return f"{worker['host']}: {worker['cpus']} x {worker['cpu']}, {worker['memory'] / 2**30:.0f} GiB{gpus}"
