"""An evaluated step of a sweep as a plain Hugging Face folder: written, loaded again, and measured once more.

Runs in this process, without Ray. Rebuilding the model lives in ``points``; knowledge about kinds of models in
``trainables.models``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import RunStoppedError
from orchestrator.export.model_card import model_card, write_provenance
from orchestrator.export.new_folder import new_folder
from orchestrator.export.verification import Verification, compare_metrics
from orchestrator.ledger import Ledger
from orchestrator.points import EvaluatedStep, Replay, StepEvaluator, prepare_replay, rebuild_model
from orchestrator.spec import SweepSpec
from trainables.data import ForgetSet
from trainables.metrics import NonFiniteEvaluationError
from trainables.models import load_model, merged, save_model
from trainables.plugins import PluginFile

DEFAULT_TOLERANCE = 1e-3
"""Largest difference of a metric from the ledger's: see ``verification``. Far above the rounding differences of one
model between kinds of machines, far below what another model would show."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """A folder that was written, and what is known of it."""

    folder: Path
    provenance: dict[str, Any]
    """The content of its ``provenance.json``."""
    verification: Verification


def export_step(
    ledger: Ledger,
    evaluated: EvaluatedStep,
    to: Path,
    *,
    overwrite: bool = False,
    tolerance: float = DEFAULT_TOLERANCE,
    trust_remote_code: bool = False,
    plugins: tuple[PluginFile, ...] = (),
    report: Callable[[str], None] = lambda _: None,
) -> Export:
    """Write the model of an evaluated step to a new folder, load it from there, and verify that it has the ledger's
    metrics.

    Args:
        ledger: the ledger of the sweep.
        evaluated: the step.
        to: the folder; an earlier export there is replaced only with ``overwrite``.
        overwrite: whether to replace an earlier export.
        tolerance: see ``verification.Comparison.difference``. On CPUs, on the machine that the sweep ran on, 0 is
            enough.
        trust_remote_code: whether to run Python code that comes with the model.
        plugins: plugin files that were given on the command line, and run.
        report: called with each task that takes time, before it starts.

    Raises:
        SweepError: ``to`` is taken; or the sweep's data, models or code are not what they were.
        RunStoppedError: a metric differs by more than ``tolerance``, and nothing was written.
    """
    replay = prepare_replay(ledger, evaluated, trust_remote_code=trust_remote_code, plugins=plugins)
    with new_folder(to, overwrite=overwrite) as folder:
        evaluator, forget_set, from_step = _write_model(replay, folder, report)
        report("measuring what was written")
        verification = _verify(replay, folder, evaluator, tolerance=tolerance)
        facts = write_provenance(
            folder,
            ledger,
            evaluated,
            spec=replay.spec,
            forget_set=forget_set,
            from_step=from_step,
            verification=verification,
        )
        (folder / "README.md").write_text(model_card(facts, verification), encoding="utf-8")
    return Export(folder=to, provenance=facts, verification=verification)


def _write_model(replay: Replay, folder: Path, report: Callable[[str], None]) -> tuple[StepEvaluator, ForgetSet, int]:
    """Write the rebuilt model; return its evaluator, what it unlearned, and ``from_step``. The model is released."""
    with rebuild_model(replay, report=report) as rebuilt:
        save_model(merged(rebuilt.model), rebuilt.tokenizer, folder, generation_file=rebuilt.generation_file)
        return rebuilt.evaluator, rebuilt.forget_set, rebuilt.from_step


def _verify(replay: Replay, folder: Path, evaluator: StepEvaluator, *, tolerance: float) -> Verification:
    """Load the folder, measure the model as the sweep did, and compare.

    Raises:
        RunStoppedError: a metric differs by more than ``tolerance``, or the model cannot be measured.
    """
    evaluated = replay.evaluated
    model, _ = load_model(folder, replay.spec.model)
    try:
        measured = evaluator.evaluate(model)
    except NonFiniteEvaluationError as error:
        raise RunStoppedError(f"trial {evaluated.trial_id}: what was written cannot be measured: {error}") from None
    verification = compare_metrics(evaluated.metrics, measured, tolerance=tolerance)
    if verification.beyond:
        lines = "\n".join(
            f"  {name}: ledger {found.recorded}, measured {found.measured}, difference {found.difference:.2g}"
            for name, found in verification.beyond.items()
        )
        raise RunStoppedError(
            f"trial {evaluated.trial_id}, step {evaluated.step}: the rebuilt model is not the one of the ledger; "
            f"nothing was exported. Metrics that differ by more than --tolerance {tolerance:g}:\n{lines}\n"
            f"{_advice(replay.spec)}"
        )
    return verification


def _advice(spec: SweepSpec) -> str:
    """Return what a user can do about metrics that differ."""
    if spec.model.lora is not None and spec.model.dtype == "bf16":
        return (
            "merging adapters into bf16 weights rounds what they have learned (model.lora, model.dtype: bf16), so the "
            "model in the folder differs slightly: if that is the only cause, a larger --tolerance accepts it, and the "
            "model card says by how much it differs"
        )
    return (
        "export it on the kind of machine that it ran on, with the same versions; if only ranks and greedy decoding "
        "differ, which jump by whole examples, a larger --tolerance accepts it"
    )
