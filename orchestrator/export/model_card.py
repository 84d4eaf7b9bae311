"""The description of an exported model: ``provenance.json`` for programs, and a model card for people."""

import json
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import ModelCardData
from markupsafe import Markup

from orchestrator.export.new_folder import MARKER
from orchestrator.export.verification import Verification
from orchestrator.frontier import CHOSEN_NOTE, PRICE_COLUMNS, Spread, floor_of, increase_over_base, summary
from orchestrator.identity import file_hash
from orchestrator.ledger import EVALUATIONS, Ledger, unit
from orchestrator.points import EvaluatedStep, Row
from orchestrator.preparation import provenance
from orchestrator.safe_text import command, one_line
from orchestrator.spec import SweepSpec
from trainables.config import ModelConfig
from trainables.data import ForgetSet
from trainables.models import pretrained_files, pretrained_origin


def _in_a_cell(value: Any) -> Any:
    """Escape a text that stands in a table cell or in inline code; ``Markup`` is left as it is."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return one_line(value).replace("|", "\\|").replace("`", "'")


FORMAT_VERSION = 1
"""The format version of ``provenance.json``."""
_PACKAGES = ("torch", "transformers", "tokenizers", "accelerate", "numpy")
"""Packages whose versions a model's numbers depend on."""
_TEMPLATES = jinja2.Environment(  # noqa: S701  # Markdown
    loader=jinja2.PackageLoader("orchestrator.export"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    finalize=_in_a_cell,
)
_TEMPLATES.filters["number"] = lambda value: "" if value is None else f"{value:.6g}"
_TEMPLATES.filters["spread"] = lambda spread: summary.spread_text(Spread(**spread), 6, significant=True)


def write_provenance(
    folder: Path,
    ledger: Ledger,
    evaluated: EvaluatedStep,
    *,
    spec: SweepSpec,
    forget_set: ForgetSet,
    from_step: int,
    verification: Verification,
) -> dict[str, Any]:
    """Write ``provenance.json`` into the folder of a model, and return its content. It holds no texts of the data."""
    replicate = evaluated.trial["replicate"]
    recorded = provenance.facts_of(ledger.manifest.read(), replicate)
    baselines = ledger.baselines().in_replicate(replicate)
    base = baselines.base(forget_set.name)
    floor = floor_of(baselines.references(forget_set.name))
    facts = {
        "format_version": FORMAT_VERSION,
        "exported_at": datetime.now(UTC).isoformat(),
        "sweep": ledger.sweep,
        "trial_id": evaluated.trial_id,
        "step": evaluated.step,
        "seed": evaluated.trial["seed"],
        "replicate": replicate,
        "status": evaluated.metrics.get("status"),
        "chosen_by": evaluated.chosen_by,
        "chosen": CHOSEN_NOTE if evaluated.chosen_by is not None else None,
        "model": _model(folder, spec.model),
        "forget_set": {
            "name": forget_set.name,
            "distribution": forget_set.distribution,
            "canary": spec.data.forget_set_of(forget_set.name).canary,
            "examples": len(forget_set.forget),
        },
        "config": json.loads(evaluated.trial["config"]),
        "horizon": evaluated.trial["horizon"],
        "from_step": from_step,
        "baselines": {
            row["model"]: {
                name: value for name, value in row.items() if name not in ("model", "forget_set", "replicate")
            }
            for row in baselines.of(forget_set.name)
        },
        "floor": {name: asdict(spread) for name, spread in floor.items()},
        "prices": {name: _price(evaluated.metrics.get(name), base, name) for name in PRICE_COLUMNS},
        "verification": verification.as_json(),
        "hashes": {name: recorded.get(name) for name in ("spec_hash", "workload_hash", "data_hash", "models")},
        "ran_with": _versions(_session_of(evaluated.trial, recorded)),
        "exported_with": _versions(
            {
                "code": provenance.code_state(),
                "packages": provenance.package_versions(),
                "python": platform.python_version(),
                "platform": platform.platform(),
                "plugins": provenance.plugin_records(spec),
            }
        ),
        "files": {
            path.relative_to(folder).as_posix(): file_hash(path) for path in sorted(folder.rglob("*")) if path.is_file()
        },
    }
    (folder / MARKER).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts


def _price(value: float | None, base: Row | None, column: str) -> dict[str, float | None]:
    start = None if base is None else base[column]
    return {"base": start, "model": value, "lost": increase_over_base(value, base, column)}


def _model(folder: Path, config: ModelConfig) -> dict[str, Any]:
    """Describe the model and its origin, without the folders of this machine."""
    if config.pretrained is None:
        shown = hub_id = None
    elif pretrained_files(config):
        shown, hub_id = Path(config.pretrained).name, None
    else:
        shown, hub_id = config.pretrained, pretrained_origin(config)[0]
    return {
        "class": json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0],
        "architecture": config.architecture,
        "pretrained": shown,
        "hub_id": hub_id,
        "revision": config.revision,
        "chat_date": config.chat_date.isoformat() if config.chat_date is not None else None,
        "dtype": config.dtype,
        "precision": config.precision,
        "lora": config.lora.model_dump(mode="json") if config.lora is not None else None,
    }


def _session_of(trial: Row, recorded: Row) -> Row:
    """Return the session that a trial ended in, among those that ``sweep.json`` lists."""
    sessions = [recorded, *recorded.get("resumed", [])]
    begun = [
        session
        for session in sessions
        if trial["ended_at"] is not None
        and "started_at" in session
        and datetime.fromisoformat(session["started_at"]).astimezone() <= trial["ended_at"]
    ]
    last: Row = (begun or sessions)[-1]
    return last


def _versions(session: Row) -> dict[str, Any]:
    """Return the part of a session that numbers depend on."""
    packages = session.get("packages") or {}
    return {
        "code": session.get("code"),
        "packages": {name: packages[name] for name in _PACKAGES if name in packages},
        "python": session.get("python"),
        "platform": session.get("platform"),
        **({"plugins": session["plugins"]} if session.get("plugins") else {}),
    }


def model_card(facts: dict[str, Any], verification: Verification) -> str:
    """Return the model card, ``README.md``, with the front matter that the hub reads."""
    front = ModelCardData(
        library_name="transformers",
        base_model=facts["model"]["hub_id"],
        tags=["machine-unlearning", "unlearn-sweep", facts["config"]["objective"].replace("_", "-")],
    )
    return _TEMPLATES.get_template("model_card.md.j2").render(
        facts=facts,
        front=Markup(front.to_yaml()),  # noqa: S704  # YAML quotes where necessary
        command=Markup(  # noqa: S704  # quoted for a shell, in a code block
            one_line(
                command("export", facts["sweep"], "--trial", facts["trial_id"], "--step", str(facts["step"]), "--to")
            )
        ),
        metrics=[
            {"name": column.name, "unit": unit(column.name), "meaning": column.metadata[b"meaning"].decode()}
            for column in EVALUATIONS
            if column.name in verification.metrics
        ],
        verification=verification,
    )
