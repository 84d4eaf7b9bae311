"""Tiny specs, invented evaluations, and the real loop run without a model."""

import copy
import math
import uuid
from dataclasses import dataclass, field, replace

from orchestrator.driver import Interrupt
from orchestrator.identity import trial_key
from orchestrator.ledger import DriverWriter, Ledger, ProbeWriter, TrialWriter, metric_row
from orchestrator.run.executors.inline import InlineExecutor
from orchestrator.run.failures import Failures
from orchestrator.run.trial_loop import TrialLoop
from orchestrator.search import Assignment, Halving, SweepSearch
from orchestrator.spec import SweepSpec, dump_spec
from orchestrator.spec.loading import validate_spec
from orchestrator.storage import LocalStorage
from orchestrator.storage.object_store import ObjectStorage
from trainables.config import TrialConfig
from trainables.probes import ProbeRecord
from trainables.records import EvaluationRecord, ExampleRecord, Observation, Outcome, Status, Trial
from trainables.trial import EVALUATION, OUTCOME, RUNG, is_last

WORKLOAD = "workload"
FLOOR = 6.0
"""Invented performance beyond which an invented trial is collapsed."""
EXPLODES = 5e-3
"""Learning rate from which an invented trial turns non-finite."""

SPEC = {
    "name": "tiny",
    "model": {"architecture": {"model_type": "llama"}, "vocab_size": 300},
    "data": {
        "retain": 100,
        "retain_evaluation": 10,
        "heldout": 10,
        "forget_sets": {
            "verses": {"distribution": "in", "size": 4, "population": 8},
            "people": {"distribution": "out", "canary": "personal_data", "size": 4, "population": 8},
        },
    },
    "preparation": {"epochs": 2, "batch_size": 10, "learning_rate": 1e-3},
    "steps": [0, 2, 5, 9],
    "seeds": [0],
    "search": {
        "sampler": "random",
        "across": "each",
        "trials": 4,
        "space": {
            "batch_size": 4,
            "optimizer": {
                "choices": {
                    "adamw": {"learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}},
                    "sgd": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "momentum": [0.0, 0.9]},
                }
            },
        },
    },
}

PROPOSAL = {"number": 0, "point": {}, "step_index": 0, "notes": {}}
"""A proposal of which nothing is to be known."""

FEW_POINTS = {"batch_size": 4, "learning_rate": [1e-4, 1e-3, 1e-2]}
"""A space so small that every sampler repeats itself."""


def spec_data(**sections):
    """Copy the tiny spec as plain data; a mapping is merged into its section, anything else replaces it."""
    data = copy.deepcopy(SPEC)
    for name, value in sections.items():
        data[name] = {**data[name], **value} if isinstance(value, dict) and name in data else value
    return data


def make_spec(**sections) -> SweepSpec:
    return validate_spec(spec_data(**sections), "test")


def memory_ledger() -> Ledger:
    return Ledger(storage=ObjectStorage(f"memory://{uuid.uuid4().hex}"), sweep="tiny")


def halving_of(ledger, spec, workload_hash=WORKLOAD) -> Halving:
    """Make what judges the trials of a sweep at its rungs."""
    return Halving(spec, ledger, workload_hashes=[workload_hash] * spec.replicates)


def make_search(spec, ledger, *, concurrent_trials=1, **options) -> SweepSearch:
    return SweepSearch(
        spec, ledger, workload_hashes=[WORKLOAD] * spec.replicates, concurrent_trials=concurrent_trials, **options
    )


def make_trial(
    *, forget_set="verses", seed=0, replicate=0, steps=(0, 2, 5), horizon=None, workload_hash=WORKLOAD, **config
):
    config = TrialConfig(**({"learning_rate": 1e-3, "batch_size": 4} | config))
    trial = Trial(
        trial_id="", forget_set=forget_set, seed=seed, replicate=replicate, config=config, steps=steps, horizon=horizon
    )
    return Trial(**{**vars(trial), "trial_id": trial_key(trial, workload_hash=workload_hash)})


def evaluation_record(step=0, *, quality=1.0, performance=3.0, gen_ex=None, rel_ex=2.0, status=Status.COMPLETED):
    return EvaluationRecord(
        step=step,
        status=status,
        forget_nll=1.5,
        gen_ex=gen_ex,
        gen_ex_abs=None if gen_ex is None else abs(gen_ex),
        gen_ex_per_token=None if gen_ex is None else gen_ex / 8,
        rel_ex=rel_ex,
        rel_ex_skew_normal=2.5,
        extraction_rate=0.25,
        membership_auc=0.5,
        retain_nll=2.0,
        heldout_nll=performance,
        heldout_perplexity=math.exp(min(performance, 88)),
        bleu=None,
        chrf=None,
        unlearning_quality=quality,
        performance=performance,
        population_nll=2.5,
        tokens_seen=step * 10,
        elapsed_s=step * 0.5,
        metrics={"gen_ex_p95": 4.5, "mia_loss_auc": 0.75, "own_metric": 0.5},
    )


def of_model(record):
    """What a record says of a model, without what it says of a trial."""
    return {k: v for k, v in record.columns().items() if k not in ("step", "status", "tokens_seen", "elapsed_s")}


def example_record(step=0, example_id="verses-000000", *, nll=1.5):
    return ExampleRecord(
        step=step,
        example_id=example_id,
        num_tokens=8,
        nll=nll,
        gen_ex=0.5,
        rel_ex=2.0,
        rel_ex_skew_normal=2.5,
        extracted=False,
        memorization=0.1,
        difficulty=3.0,
        metrics={"extraction_strength": 0.25, "own_metric": 1.5},
    )


def outcome(status=Status.COMPLETED, *, last_step=9, message=None):
    times = {"reset_s": 0.5, "step_s": 1.0, "evaluate_s": 2.0, "commit_s": 0.25, "checkpoint_s": 0.125}
    return Outcome(status=status, last_step=last_step, message=message, elapsed_s=4.5, times=times)


def invent(trial: Trial) -> tuple[list[EvaluationRecord], Status]:
    """Invent a whole trial as a function of its settings: exposure falls and loss grows with learning rate x step."""
    records = []
    for step in trial.steps:
        if step > 2 and trial.config.learning_rate > EXPLODES:
            return records, Status.DIVERGED
        push = trial.config.learning_rate * 1e3 * step * (1 + trial.config.momentum)
        exposure = 10 - push * (1 if trial.forget_set == "verses" else 2) - trial.seed / 8 - trial.replicate / 16
        performance = 3 + push**2 / 100 + trial.seed / 4 + trial.replicate / 8
        collapsed = performance > FLOOR
        status = Status.COLLAPSED if collapsed else Status.COMPLETED
        records.append(
            evaluation_record(step, quality=abs(exposure), performance=performance, gen_ex=exposure, status=status)
        )
        if collapsed:
            return records, Status.COLLAPSED
    return records, Status.COMPLETED


def base_record() -> EvaluationRecord:
    """What ``invent`` says of step 0."""
    return evaluation_record(0, quality=10.0, performance=3.0, gen_ex=10.0)


class Crash(Exception):
    """The driver died."""


class HeldLease:
    """A lease that nobody contests."""

    def __init__(self) -> None:
        self.asked = 0
        """How often the trials were asked to stop."""

    def renew(self) -> None:
        pass

    def stop_trials(self) -> None:
        self.asked += 1


class SilentEvents:
    """Hears of everything, and does nothing."""

    def __getattr__(self, name):
        return lambda *_, **__: None


class InventingWorker:
    """Runs trials with invented numbers, an evaluation a slice, in place of ``TrialWorker``.

    As real trials do, it publishes the base model's row too, and reports that only where the axis has step 0.
    """

    def __init__(self, workload, sink, *, base_rows: bool = True, rungs: tuple[int, ...] = ()) -> None:
        self._sink = sink
        self._base_rows = base_rows
        self._rungs = rungs
        self._trial: Trial | None = None

    def take(self, trial: Trial) -> None:
        self._trial = trial
        self._may_stand_at_rung, self._rung = True, None
        records, self._status = invent(trial)
        base = [] if 0 in trial.steps or not self._base_rows else [base_record()]
        self._first = len(base)
        self._rows = [*base, *records]  # the same objects in every commit, as in a real trial: none is encoded twice
        self._examples = [example_record(row.step) for row in self._rows]
        done = [row for row in self._sink.published(trial.trial_id)[0] if row.step in trial.steps]
        self._count = len(done)

    def next_report(self) -> dict:
        """Publish and report the next evaluation that the ledger lacks, with the last of them the outcome."""
        records = self._rows[self._first :]
        last = records[self._count - 1].step if self._count else 0
        if self._rung is not None:
            self._rung, reason = None, self._sink.verdict(self._trial.trial_id)
            if reason is not None:
                self._publish(outcome(Status.COMPLETED, last_step=last, message=reason))
                return {OUTCOME: Status.COMPLETED}
        elif self._may_stand_at_rung and 0 < self._count < len(records) and last in self._rungs:
            self._rung = last
            return {RUNG: self._rung}
        self._may_stand_at_rung = False
        if self._count == len(records):
            self._publish(outcome(self._status, last_step=last))
            return {OUTCOME: self._status}
        self._count += 1
        evaluated = records[self._count - 1]
        ended = outcome(self._status, last_step=evaluated.step) if self._count == len(records) else None
        self._publish(ended)
        report = {EVALUATION: told(evaluated)}
        if ended is not None:
            return report | {OUTCOME: self._status}
        if evaluated.step in self._rungs:
            self._rung = evaluated.step
            report[RUNG] = self._rung
        return report

    def _publish(self, ended: Outcome | None) -> None:
        count = self._first + self._count
        self._sink.publish(self._trial.trial_id, self._rows[:count], self._examples[:count], ended)

    def stopped(self) -> dict:
        """Leave the trial as one that was asked to stop, and report that."""
        published = self._sink.published(self._trial.trial_id)
        self._sink.publish(self._trial.trial_id, *published, outcome(Status.STOPPED, last_step=0))
        return {OUTCOME: Status.STOPPED}

    def stop(self) -> None:
        pass


class _NotedLoop(TrialLoop):
    """The real loop, whose every step is an event of a ``Driver``."""

    def __init__(self, driver: "Driver") -> None:
        self._driver = driver
        spec = driver.search._spec
        failures, events = Failures(driver.ledger), SilentEvents()
        super().__init__(
            driver.search,
            failures,
            events,
            driver.interrupt,
            HeldLease(),
            resources=spec.resources,
            halving=halving_of(driver.ledger, spec) if driver.halves else None,
        )

    def next_trial(self) -> Assignment | None:
        assignment = super().next_trial()
        if assignment is not None:
            self._driver.start(assignment)
        return assignment

    def heard(self, assignment: Assignment, report: dict) -> None:
        super().heard(assignment, report)
        if RUNG in report:
            self._driver.tick()

    def _observe(self, assignment: Assignment, evaluation: Observation) -> None:
        super()._observe(assignment, evaluation)
        self._driver.tick()


@dataclass
class Driver:
    """Runs a search by the real loop and the inline executor, with invented numbers.

    It dies after ``crash_after`` events, if that is given: a trial handed out, an evaluation reported, or a judgement.
    """

    search: SweepSearch
    ledger: Ledger
    crash_after: int | None = None
    events: int = 0
    started: list[Assignment] = field(default_factory=list)
    base_rows: bool = True
    """False: as versions before 5 did, which had a row of step 0 only where the axis has that step."""
    halves: bool = False
    """Trials are judged at the rungs of the spec."""

    def __post_init__(self) -> None:
        self.interrupt = Interrupt()
        self.loop = _NotedLoop(self)

    def run(self) -> list[str]:
        """Run to the end, one trial at a time; return trial ids in the order they started."""
        executor = InlineExecutor(self.interrupt, make_worker=self._make_worker)
        executor.run_trials(
            self.loop,
            workloads=[None] * self.search._spec.replicates,
            sink=TrialWriter(self.ledger),
            name="tiny",
            resources=self.search._spec.resources,
        )
        self.interrupt.raise_if_set()
        return [assignment.trial.trial_id for assignment in self.started]

    def _make_worker(self, workload, sink) -> InventingWorker:
        rungs = self.search._spec.stop.halving.rungs if self.halves else ()
        return InventingWorker(workload, sink, base_rows=self.base_rows, rungs=rungs)

    def start(self, assignment: Assignment) -> None:
        """Note a trial that was handed out."""
        self.started.append(assignment)
        self.tick()

    def finish(self, assignment: Assignment) -> None:
        """Run a trial that a test took from the search itself to its end."""
        worker = self._make_worker(None, TrialWriter(self.ledger))
        worker.take(assignment.trial)
        while True:
            report = worker.next_report()
            self.loop.heard(assignment, report)
            if is_last(report):
                break
        self.loop.ended(assignment, report)
        self.interrupt.raise_if_set()

    def tick(self) -> None:
        """Count an event, and die of it if it is the one."""
        self.events += 1
        if self.events == self.crash_after:
            raise Crash


def told(record: EvaluationRecord) -> Observation:
    """Return what a worker reports of an evaluation."""
    return Observation.of(record)


def write_sweep(folder, spec: SweepSpec, **options) -> Ledger:
    """Write a whole sweep of invented numbers under ``folder``."""
    return write_sweep_to(Ledger(storage=LocalStorage(folder / spec.name), sweep=spec.name), spec, **options)


def write_sweep_to(ledger: Ledger, spec: SweepSpec, **options) -> Ledger:
    """Write a whole sweep of invented numbers; ``options`` are those of ``Driver``."""
    ledger.manifest.create(dump_spec(spec), {"sweep": spec.name}, {"python": "3.11"})
    Driver(make_search(spec, ledger), ledger, **options).run()
    models = {
        "base": base_record(),
        "reference-0": evaluation_record(0, quality=2.0, performance=3.1, gen_ex=-0.5, rel_ex=1.0),
        "reference-1": evaluation_record(0, quality=3.0, performance=3.2, gen_ex=0.5, rel_ex=1.2),
    }
    DriverWriter(ledger).publish_forget_examples(
        [
            {
                "forget_set": name,
                "replicate": replicate,
                "example_id": "verses-000000",
                "prompt": "",
                "completion": f"{name}, drawn {replicate}" if replicate else name,
                "repetitions": 1,
            }
            for replicate in range(spec.replicates)
            for name in spec.data.forget_sets
        ]
    )
    DriverWriter(ledger).publish_baselines(
        [
            metric_row("baselines", {"model": model, "forget_set": name, "replicate": replicate, **of_model(record)})
            for replicate in range(spec.replicates)
            for model, record in models.items()
            for name in spec.data.forget_sets
        ]
    )
    return ledger


def measured(variant="int4", amount=4.0, *, gen_ex=3.0, was=1.0, performance=3.5, **others) -> ProbeRecord:
    """Return a measurement of a probe: exposure goes from ``was`` to ``gen_ex``."""
    return ProbeRecord(
        **{
            "probe": "quantization",
            "role": "unlearned",
            "variant": variant,
            "amount": amount,
            "before": evaluation_record(0, gen_ex=was, performance=3.2),
            "after": evaluation_record(0, gen_ex=gen_ex, performance=performance),
            "scores": {},
            "elapsed_s": 0.5,
        }
        | others
    )


def write_probe(ledger: Ledger, row, step, found, *, probe="quantization", settings=None) -> None:
    """Write what a probe found on a step of a trial, given by its row."""
    found = [replace(one, probe=probe, role="unlearned") for one in found]
    ProbeWriter(ledger).publish(f"{row['trial_id']}-{step}", probe, settings or {}, found, of=row, step=step)


def write_control(ledger: Ledger, role, found, *, forget_set="verses", probe="quantization", settings=None) -> None:
    """Write what a probe found on the base model or a reference model."""
    of = {"forget_set": forget_set, "distribution": "in", "replicate": 0}
    found = [replace(one, probe=probe, role=role) for one in found]
    ProbeWriter(ledger).publish(f"{role}-{forget_set}", probe, settings or {}, found, of=of, step=None)
