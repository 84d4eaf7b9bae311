"""One point of a sweep as a plain Hugging Face folder: its model made again, written, loaded, and measured once more.

Runs in this process, without Ray. What kind of model it is, is ``trainables.models.loading``' to know.
"""

import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from pydantic import ValidationError

from orchestrator.errors import RunStoppedError, SweepError
from orchestrator.export.model_card import describe, model_card
from orchestrator.export.new_folder import new_folder
from orchestrator.export.verification import Verification, compare_metrics
from orchestrator.identity import trial_key
from orchestrator.ledger import Ledger
from orchestrator.points import EvaluatedStep
from orchestrator.preparation import ModelCache, ModelTask, SweepInputs, build_workload, provenance, train_model
from orchestrator.spec import SweepSpec, compare, day_of_creation, stored_spec
from orchestrator.storage import open_storage
from trainables.config import TrialConfig
from trainables.data import Datasets
from trainables.distributed import share_model
from trainables.metrics import EvaluationSets, NonFiniteEvaluationError, evaluate
from trainables.models import DamagedCheckpointError, load_model, merged, save_model, saved_tokenizer
from trainables.records import Trial
from trainables.trial import DivergedError, Engine, Workload

DEFAULT_TOLERANCE = 1e-3
"""Largest difference of a metric from the ledger's: see ``verification``. Far above the roundings by which one model
differs between kinds of machines, far below what another model would show."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """A folder that was written, and what is known of it."""

    folder: Path
    provenance: dict[str, Any]
    """The content of its ``provenance.json``."""
    verification: Verification


@dataclass(frozen=True, kw_only=True)
class _Materials:
    """What the model of a point is made of."""

    inputs: SweepInputs
    trial: Trial


@dataclass(frozen=True, kw_only=True)
class _Unlearned:
    """A model that was made again and written."""

    accelerator: Accelerator
    tokens_seen: int
    from_step: int
    """Of the checkpoint that it was made from; 0: it was ascended from the base model."""


def export_point(
    ledger: Ledger,
    point: EvaluatedStep,
    to: Path,
    *,
    overwrite: bool = False,
    tolerance: float = DEFAULT_TOLERANCE,
    trust_remote_code: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Export:
    """Write the model of a point to a new folder; load it from there, and measure what the ledger says of it.

    Args:
        ledger: the sweep.
        point: which of its models.
        to: the folder; an earlier export there is replaced only with ``overwrite``.
        trust_remote_code: run Python code that comes with the model.
        tolerance: see ``verification.Comparison.difference``. On the machine that the sweep ran on, 0 will do on CPUs.
        tell: what takes time.

    Raises:
        SweepError: something is at ``to``; or the sweep's data, models or code are not what they were.
        RunStoppedError: a metric differs by more than ``tolerance``, and nothing was written.
    """
    materials = _materials(ledger, point, trust_remote_code)
    with new_folder(to, overwrite=overwrite) as folder:
        workload, tokenizer = _workload(ledger, materials, tell)
        tell("ascending to the step")
        unlearned = _unlearn(workload, materials.trial, ledger, tokenizer, folder)
        tell("measuring what was written")
        sets = workload.evaluation_sets[materials.trial.forget_set]
        verification = _verify(folder, materials.inputs.spec, sets, point, unlearned=unlearned, tolerance=tolerance)
        facts = describe(
            folder,
            ledger,
            point,
            spec=materials.inputs.dated,
            forget_set=materials.inputs.datasets.forget_sets[materials.trial.forget_set],
            from_step=unlearned.from_step,
            verification=verification,
        )
        (folder / "README.md").write_text(model_card(facts, verification), encoding="utf-8")
    return Export(folder=to, provenance=facts, verification=verification)


def _materials(ledger: Ledger, point: EvaluatedStep, trust_remote_code: bool) -> _Materials:
    """Read a point's trial back, and see that data, models and settings are still those it was run with."""
    row, spec = point.trial, stored_spec(ledger).trusting_remote_code(trust_remote_code)
    spec.require_forget_sets(row["forget_set"])
    inputs = SweepInputs.of(spec, chat_date=day_of_creation(ledger))
    try:
        config = TrialConfig.model_validate_json(row["config"])
    except ValidationError as error:
        raise SweepError(
            f"trial {point.trial_id}: this code cannot read its settings ({error.errors()[0]['msg']}); export it with "
            f"the code that ran it: {provenance.last_session(ledger.manifest()).get('code')}"
        ) from None
    trial = Trial(
        trial_id=point.trial_id,
        forget_set=row["forget_set"],
        seed=row["seed"],
        config=config,
        steps=(point.step,),
        horizon=row["horizon"],
    )
    if trial_key(trial, workload_hash=inputs.workload_hash) != trial.trial_id:
        raise SweepError(_what_changed(ledger, trial, inputs))
    if ledger.manifest().get("tokens_hash") not in (None, inputs.tokens_hash):
        raise SweepError(_what_changed(ledger, trial, inputs))
    return _Materials(inputs=inputs, trial=trial)


def _what_changed(ledger: Ledger, trial: Trial, inputs: SweepInputs) -> str:
    recorded, spec = ledger.manifest(), inputs.spec
    code = provenance.last_session(recorded).get("code")
    changes = compare(spec, spec, {**recorded, "code": code}, {**inputs.manifest(), "code": provenance.code_state()})
    lines = changes.breaking or ("the trial is of an earlier spec of this sweep, which later went on with another",)
    listed = "\n".join(f"  {line}" for line in lines)
    return (
        f"{ledger.storage.uri}: trial {trial.trial_id} was made with other settings, data, models or code:\n{listed}\n"
        f"put them back to export it; or run the sweep again under another --name, and export from that"
    )


def _workload(ledger: Ledger, materials: _Materials, tell: Callable[[str], None]) -> tuple[Workload, Any]:
    """Give what the trial started from, with the evaluation sets of its forget set alone, and the tokenizer."""
    inputs, name = materials.inputs, materials.trial.forget_set
    spec, datasets = inputs.dated, inputs.datasets
    cache = ModelCache(open_storage(ledger.storage.uri.rstrip("/").rpartition("/")[0]))
    for task in inputs.tasks:
        if not cache.holds(task.key):
            tell(f"training model '{task.role}' anew: it is gone from the storage")
            _train_apart(spec, datasets, task, cache, ledger)
    tell("measuring base and reference models")
    own = replace(datasets, forget_sets={name: datasets.forget_sets[name]})
    workload, _ = build_workload(spec, own, inputs.tasks, cache, ledger)
    with tempfile.TemporaryDirectory() as scratch:  # each model has the tokenizer beside it
        tokenizer = saved_tokenizer(cache.fetch(inputs.tasks[0].key, Path(scratch) / "base"), spec.model)
    return workload, tokenizer


def _train_apart(spec: SweepSpec, datasets: Datasets, task: ModelTask, cache: ModelCache, ledger: Ledger) -> None:
    """Train a model in a process of its own: Accelerate has one precision a process, and the ascent's may be another.

    Raises:
        RunStoppedError: the process was killed.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        try:
            pool.submit(train_model, spec, datasets, task, cache, ledger).result()
        except BrokenProcessPool:
            raise RunStoppedError(
                f"training model '{task.role}': its process was killed; this machine may have too little memory"
            ) from None


def _unlearn(workload: Workload, trial: Trial, ledger: Ledger, tokenizer: Any, folder: Path) -> _Unlearned:
    """Bring the model to the trial's step, from the trial's checkpoint if that is not beyond it, and write it."""
    (step,) = trial.steps
    engine = Engine(workload)
    ascent = engine.start(trial)
    payload = ledger.load_checkpoint(trial.trial_id)
    from_step = 0
    if payload is not None:
        with suppress(DamagedCheckpointError):  # it changed nothing, and the base model leads to the same numbers
            from_step = ascent.unpack(payload).step
        if from_step > step:
            ascent, from_step = engine.start(trial), 0
    try:
        ascent.advance(step)
    except DivergedError as error:
        raise RunStoppedError(
            f"trial {trial.trial_id} diverges here before step {step} ({error}), where it did not; export it on the "
            f"kind of machine that it ran on"
        ) from None
    with ascent.evaluated_model() as model:
        whole = merged(engine.accelerator.unwrap_model(model))
        save_model(whole, tokenizer, folder, generation_file=workload.base.generation_file)
    engine.accelerator.free_memory()
    return _Unlearned(accelerator=engine.accelerator, tokens_seen=ascent.tokens_seen, from_step=from_step)


def _verify(
    folder: Path,
    spec: SweepSpec,
    sets: EvaluationSets,
    point: EvaluatedStep,
    *,
    unlearned: _Unlearned,
    tolerance: float,
) -> Verification:
    """Load the folder, measure the model as the sweep did, and compare."""
    model, _ = load_model(folder, spec.model)
    try:
        measured, _ = evaluate(
            share_model(unlearned.accelerator, model),
            sets,
            batch_size=spec.evaluation.batch_size,
            step=point.step,
            tokens_seen=unlearned.tokens_seen,
            elapsed_s=0.0,
        )
    except NonFiniteEvaluationError as error:
        raise RunStoppedError(f"trial {point.trial_id}: what was written cannot be measured: {error}") from None
    verification = compare_metrics(point.metrics, asdict(measured), tolerance=tolerance)
    if verification.beyond:
        lines = "\n".join(
            f"  {name}: ledger {found.recorded}, measured {found.measured}, difference {found.difference:.2g}"
            for name, found in verification.beyond.items()
        )
        raise RunStoppedError(
            f"trial {point.trial_id}, step {point.step}: the model that was made again is not the one of the ledger; "
            f"nothing was exported. Metrics that differ by more than --tolerance {tolerance:g}:\n{lines}\n"
            f"{_advice(spec)}"
        )
    return verification


def _advice(spec: SweepSpec) -> str:
    """Say what may be done about metrics that differ."""
    if spec.model.lora is not None and spec.model.dtype == "bf16":
        return (
            "merged into bf16 weights, what the adapters have learned is rounded (model.lora, model.dtype: bf16), so "
            "that the model in the folder is another one by a little: where that is all, a larger --tolerance lets it "
            "pass, and the model card says by how much it differs"
        )
    return (
        "export it on the kind of machine that it ran on, with the same versions; where only ranks and greedy decoding "
        "differ, which jump by whole examples, a larger --tolerance lets it pass"
    )
