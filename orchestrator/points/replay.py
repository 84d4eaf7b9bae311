"""The model of an evaluated step, rebuilt by repeating its ascent from the trial's checkpoint or the base model.

Everything runs in this process, without Ray. Nothing is written but models that the storage has lost.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from pydantic import ValidationError

from orchestrator.errors import RunStoppedError, SweepError
from orchestrator.identity import trial_key
from orchestrator.ledger import Ledger, TrialWriter
from orchestrator.points.evaluated_steps import EvaluatedStep
from orchestrator.preparation import (
    ModelCache,
    ModelTask,
    SweepInputs,
    build_workload,
    manifest_of,
    provenance,
    train_model,
)
from orchestrator.spec import (
    SweepSpec,
    compare,
    day_of_creation,
    last_plugins,
    plugin_differences,
    stored_spec_to_run,
)
from orchestrator.storage import open_storage
from trainables.config import TrialConfig
from trainables.data import Datasets, ForgetSet
from trainables.distributed import share_model
from trainables.metrics import EvaluationSets, evaluate
from trainables.models import DamagedCheckpointError, saved_tokenizer
from trainables.plugins import PluginFile
from trainables.records import Trial
from trainables.trial import DivergedError, Engine, Workload


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What it takes to rebuild the model of an evaluated step. Data, models and settings are those of its trial."""

    ledger: Ledger
    evaluated: EvaluatedStep
    inputs: SweepInputs
    """Inputs of the trial's replicate, read again."""
    trial: Trial
    """The trial up to this step, which is its only evaluation."""

    @property
    def spec(self) -> SweepSpec:
        """The sweep's spec, with the date that a chat template is given."""
        return self.inputs.dated


@dataclass(frozen=True, kw_only=True)
class StepEvaluator:
    """Measures models as the sweep measured them at this step."""

    accelerator: Accelerator
    sets: EvaluationSets
    """Sets of the trial's forget set."""
    batch_size: int
    step: int
    tokens_seen: int

    def evaluate(self, model: Any) -> dict[str, Any]:
        """Return the metrics of an unwrapped model by column of the evaluations table. ``elapsed_s`` is 0.

        Raises:
            NonFiniteEvaluationError: the model gives an example no finite likelihood.
        """
        evaluation, _ = evaluate(
            share_model(self.accelerator, model),
            self.sets,
            batch_size=self.batch_size,
            step=self.step,
            tokens_seen=self.tokens_seen,
            elapsed_s=0.0,
        )
        return evaluation.columns()


@dataclass(frozen=True, kw_only=True)
class RebuiltModel:
    """The rebuilt model of an evaluated step."""

    model: Any
    """The unwrapped model as it was evaluated; adapters are not merged."""
    tokenizer: Any
    generation_file: bytes | None
    """The model's ``generation_config.json``."""
    forget_set: ForgetSet
    from_step: int
    """Step of the checkpoint that the ascent started from; 0: the base model."""
    evaluator: StepEvaluator
    """Holds no reference to the model."""


@dataclass(frozen=True, kw_only=True)
class StartingPoint:
    """What the ascents of a replicate start from, measured once for any number of replays. Picklable."""

    workload: Workload
    tokenizer: Any
    unlearned: Mapping[str, ForgetSet]
    """The forget sets and buckets of these trials by name."""


def prepare_replay(
    ledger: Ledger,
    evaluated: EvaluatedStep,
    *,
    trust_remote_code: bool = False,
    plugins: tuple[PluginFile, ...] = (),
) -> Replay:
    """Read a step's trial and the sweep's inputs, and check that the trial would be the same with them.

    Args:
        ledger: the ledger of the sweep.
        evaluated: the step.
        trust_remote_code: whether to run Python code that comes with the model.
        plugins: plugin files that were given on the command line, and run.

    Raises:
        SweepError: data, models, settings or code differ from those that the trial was run with; or a plugin is
            missing.
    """
    replicate = evaluated.trial["replicate"]
    inputs = read_inputs(ledger, replicate=replicate, trust_remote_code=trust_remote_code, plugins=plugins)
    return replay_with(ledger, evaluated, inputs)


def read_inputs(
    ledger: Ledger, *, replicate: int = 0, trust_remote_code: bool = False, plugins: tuple[PluginFile, ...] = ()
) -> SweepInputs:
    """Read the inputs of a replicate again.

    Args:
        ledger: the ledger of the sweep.
        replicate: number of the replicate.
        trust_remote_code: whether to run Python code that comes with the model.
        plugins: plugin files that were given on the command line, and run.

    Raises:
        SweepError: a plugin is missing.
        UnlearningError: the data cannot be used any more.
    """
    spec = stored_spec_to_run(ledger, plugins).trusting_remote_code(trust_remote_code)
    recorded = last_plugins(ledger.manifest.read())
    for difference in plugin_differences(recorded, provenance.plugin_records(spec)):
        ledger.remark(f"{difference}; where it computes something else, the model is not the one that was evaluated")
    return SweepInputs.of(spec, replicate=replicate, chat_date=day_of_creation(ledger))


def replay_with(ledger: Ledger, evaluated: EvaluatedStep, inputs: SweepInputs) -> Replay:
    """Read a step's trial, and check that it would be the same with these inputs: see ``prepare_replay``."""
    row = evaluated.trial
    inputs.spec.require_forget_sets(row["forget_set"])
    try:
        config = TrialConfig.model_validate_json(row["config"])
    except ValidationError as error:
        raise SweepError(
            f"trial {evaluated.trial_id}: this code cannot read its settings ({error.errors()[0]['msg']}); use the "
            f"code that ran it: {provenance.last_session(ledger.manifest.read()).get('code')}"
        ) from None
    trial = Trial(
        trial_id=evaluated.trial_id,
        forget_set=row["forget_set"],
        seed=row["seed"],
        replicate=row["replicate"],
        config=config,
        steps=(evaluated.step,),
        horizon=row["horizon"],
    )
    has_other_inputs = trial_key(trial, workload_hash=inputs.workload_hash) != trial.trial_id
    recorded = provenance.facts_of(ledger.manifest.read(), inputs.replicate)
    if has_other_inputs or recorded.get("tokens_hash") not in (None, inputs.tokens_hash):
        raise SweepError(_what_changed(ledger, trial, inputs))
    return Replay(ledger=ledger, evaluated=evaluated, inputs=inputs, trial=trial)


def _what_changed(ledger: Ledger, trial: Trial, inputs: SweepInputs) -> str:
    recorded, spec = provenance.facts_of(ledger.manifest.read(), inputs.replicate), inputs.spec
    before = {**recorded, "code": provenance.last_session(recorded).get("code")}
    changes = compare(spec, spec, before, {**manifest_of([inputs]), "code": provenance.code_state()})
    lines = changes.breaking or ("the trial is of an earlier spec of this sweep, which later went on with another",)
    listed = "\n".join(f"  {line}" for line in lines)
    return (
        f"{ledger.storage.uri}: trial {trial.trial_id} was made with other settings, data, models or code:\n{listed}\n"
        f"put them back to rebuild its model; or run the sweep again under another --name, and use a trial of that"
    )


@contextmanager
def rebuild_model(
    replay: Replay, *, start: StartingPoint | None = None, report: Callable[[str], None] = lambda _: None
) -> Iterator[RebuiltModel]:
    """Yield the model of an evaluated step. It is valid inside the block; the device's memory is freed afterwards.

    The ascent starts from the trial's checkpoint, unless that is missing, damaged or beyond the step; then from the
    base model. Both give the same model bit for bit, on the kind of machine that the trial ran on.

    Args:
        replay: the result of ``prepare_replay``.
        start: what the ascent starts from; None: it is prepared first.
        report: called with each task that takes time, before it starts.

    Raises:
        RunStoppedError: the ascent diverges here, or a model that was trained anew could not be.
    """
    start = start or prepare_start(replay.ledger, replay.inputs, [replay.trial.forget_set], report=report)
    workload = start.workload
    report("ascending to the step")
    trial, engine = replay.trial, Engine(workload)
    (step,) = trial.steps
    ascent, from_step = engine.start(trial), 0
    payload = TrialWriter(replay.ledger).load_checkpoint(trial.trial_id)
    if payload is not None:
        with suppress(DamagedCheckpointError):  # it changed nothing, and the base model leads to the same numbers
            from_step = ascent.unpack(payload).step
        if from_step > step:
            ascent, from_step = engine.start(trial), 0
    try:
        ascent.advance(step)
    except DivergedError as error:
        raise RunStoppedError(
            f"trial {trial.trial_id} diverges here before step {step} ({error}), where it did not; use the kind of "
            f"machine that it ran on"
        ) from None
    with ascent.evaluated_model() as model:
        yield RebuiltModel(
            model=engine.accelerator.unwrap_model(model),
            tokenizer=start.tokenizer,
            generation_file=workload.base.generation_file,
            forget_set=start.unlearned[trial.forget_set],
            from_step=from_step,
            evaluator=StepEvaluator(
                accelerator=engine.accelerator,
                sets=workload.evaluation_sets[trial.forget_set],
                batch_size=replay.spec.evaluation.batch_size,
                step=step,
                tokens_seen=ascent.tokens_seen,
            ),
        )
    engine.accelerator.free_memory()


def models_of(ledger: Ledger) -> ModelCache:
    """Return the models of the storage that a sweep is in."""
    return ModelCache(open_storage(ledger.storage.uri.rstrip("/").rpartition("/")[0]))


def prepare_start(
    ledger: Ledger, inputs: SweepInputs, forget_sets: Sequence[str], *, report: Callable[[str], None] = lambda _: None
) -> StartingPoint:
    """Return what a replicate's trials of some forget sets started from. Models that the storage lost are trained anew.

    Raises:
        RunStoppedError: a model could not be trained.
    """
    cache, spec = models_of(ledger), inputs.dated
    for task in inputs.tasks:
        if not cache.holds(task.key):
            report(f"training model '{task.name}' anew: it is gone from the storage")
            _train_apart(spec, inputs.datasets, task, cache, ledger)
    report("measuring base and reference models")
    given = {name: inputs.datasets.forget_sets[name] for name in map(spec.data.given, forget_sets)}
    own = replace(inputs.datasets, forget_sets=given)
    workload, measured = build_workload(spec, own, inputs.tasks, cache, ledger, unlearned=forget_sets)
    with tempfile.TemporaryDirectory() as scratch:  # each model has the tokenizer beside it
        tokenizer = saved_tokenizer(cache.fetch(inputs.tasks[0].key, Path(scratch) / "base"), spec.model)
    return StartingPoint(workload=workload, tokenizer=tokenizer, unlearned={**given, **measured.buckets})


def _train_apart(spec: SweepSpec, datasets: Datasets, task: ModelTask, cache: ModelCache, ledger: Ledger) -> None:
    """Train a model in a separate process: Accelerate allows one precision a process, and the ascent's may differ.

    Raises:
        RunStoppedError: the process was killed.
    """
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        try:
            pool.submit(train_model, spec, datasets, task, cache, ledger).result()
        except BrokenProcessPool:
            raise RunStoppedError(
                f"training model '{task.name}': its process was killed; this machine may have too little memory"
            ) from None
